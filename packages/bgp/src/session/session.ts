/** What a session is, what happens to it and what follows: the words of the state machine (fsm.ts), RFC 4271 §8.1, §8.2.1. */
import type { Family } from "@margay/net";
import type { BgpError } from "../wire/error.ts";
import type { Keepalive } from "../wire/message.ts";
import type { Notification } from "../wire/notification.ts";
import type { Open } from "../wire/open.ts";
import type { Update } from "../wire/update.ts";
import type { Negotiated, Settings } from "./negotiate.ts";

export const states = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"] as const;
export type State = (typeof states)[number];

export interface Session {
  readonly state: State;
  readonly settings: Settings;
  /** ConnectRetryCounter: faults since the session was last up for a while (`timers.stable`). */
  readonly failures: number;
  /** TCP is up and the DelayOpen timer runs. */
  readonly delaying?: true;
  /** The peer's OPEN and what came of it, from OpenConfirm on. */
  readonly peer?: Open;
  readonly negotiated?: Negotiated;
}

/** Events of RFC 4271 §8.1, by number; those that differ only in who reports them are one. */
export interface Events {
  /** 1, 3 */ Start: object;
  /** 2: the operator; 8: the program. `error` is the Cease to send. */ Stop: { readonly error: BgpError };
  /**
   * 8: the program, for a fault of the peer (too many prefixes). Starts again after `restartSeconds`, or when told to.
   */ AutomaticStop: { readonly error: BgpError; readonly restartSeconds?: number };
  /** 9 */ ConnectRetryTimerExpired: object;
  /** 10 */ HoldTimerExpired: object;
  /** 11 */ KeepaliveTimerExpired: object;
  /** 12 */ DelayOpenTimerExpired: object;
  /** 13 */ IdleHoldTimerExpired: object;
  /** 16, 17 */ TcpConnected: object;
  /** 18 */ TcpFailed: { readonly why: string };
  /** 19 */ OpenReceived: { readonly open: Open };
  /** 21, 22, 28: a message that the wire layer refused. */ MessageRefused: { readonly error: BgpError };
  /** 23 */ CollisionLost: object;
  /** 24, 25 */ NotificationReceived: { readonly notification: Notification };
  /** 26 */ KeepaliveReceived: object;
  /** 27 */ UpdateReceived: { readonly update: Update };
  /** 29, RFC 9687 §3.2 */ SendHoldTimerExpired: object;
  /** TCP has taken all that was sent, RFC 9687 §3.3. */ Written: object;
  /** Established for long enough to forget earlier faults. */ StableTimerExpired: object;
  /** RFC 2918 §4 */ RefreshReceived: { readonly family?: Family; readonly subtype: number };
}
export type EventName = keyof Events;
export type Event = { [E in EventName]: { readonly kind: E } & Events[E] }[EventName];

export const timerNames = [
  "connectRetry",
  "delayOpen",
  "hold",
  "keepalive",
  "idleHold",
  "sendHold",
  "stable",
] as const;
export type TimerName = (typeof timerNames)[number];

/** Why a session ended, for the operator and for graceful restart. */
export interface Ending {
  readonly by: "us" | "peer" | "tcp";
  readonly words: string;
  /** It was Established before. */
  readonly established: boolean;
  /** The NOTIFICATION sent or received, if any (RFC 4724 §4: none keeps the routes). */
  readonly notification?: Notification;
}

export type Effect =
  | { readonly kind: "connect" }
  | { readonly kind: "close" }
  | { readonly kind: "send"; readonly message: Open | Keepalive | Notification }
  | { readonly kind: "arm"; readonly timer: TimerName; readonly seconds: number }
  | { readonly kind: "disarm"; readonly timer: TimerName }
  | { readonly kind: "established"; readonly negotiated: Negotiated }
  | { readonly kind: "ended"; readonly ending: Ending }
  | { readonly kind: "routes"; readonly update: Update }
  | { readonly kind: "refresh"; readonly family?: Family; readonly subtype: number };

export type Step = readonly [Session, readonly Effect[]];
export type Row = { readonly [E in EventName]?: (s: Session, e: Events[E], jitter: number) => Step };
