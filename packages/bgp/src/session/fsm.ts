/**
 * The BGP finite state machine, RFC 4271 §8.2.2, one instance per TCP connection (§8.2.1).
 *
 *              start            TCP up          OPEN             KEEPALIVE
 *     Idle ──────────▶ Connect ────────▶ OpenSent ──▶ OpenConfirm ─────────▶ Established
 *       ▲               │    ▲              │
 *       │       TCP down│    │ConnectRetry  │TCP down          any fault, from everywhere:
 *       │               ▼    │              │                  NOTIFICATION, close, back to Idle
 *       └──────────── Active ◀──────────────┘
 *
 * Pure: `step(session, event, jitter)` gives the next session and the effects, which somebody else carries out in
 * order. One row per state, one cell per event. An absent cell is the FSM Error.
 */
import { timers } from "../wire/code-points.ts";
import { BgpError, type ErrorCode } from "../wire/error.ts";
import {
  abandon,
  arm,
  automaticStop,
  close,
  collisionLost,
  disarm,
  holdExpired,
  messageRefused,
  notified,
  refuse,
  refusedQuietly,
  sendHoldExpired,
  stop,
  stopQuietly,
  tcpFailed,
} from "./endings.ts";
import { type Negotiated, negotiate, openOf, type Settings } from "./negotiate.ts";
import type { Effect, Event, Events, Row, Session, State, Step } from "./session.ts";

/** A session that has not started. */
export const idle = (settings: Settings): Session => ({ state: "Idle", settings, failures: 0 });

/**
 * One event. `jitter` is a random number from 0.75 to 1 that shortens the timers which RFC 4271 §10 wants jittered.
 */
export function step(session: Session, event: Event, jitter: number): Step {
  const cell = table[session.state][event.kind];
  // The cell's event type is that of its column, which is `event.kind`: TypeScript cannot tie the two.
  return cell
    ? (cell as (s: Session, e: Event, j: number) => Step)(session, event, jitter)
    : unexpected(session, event);
}

const to = ({ delaying: _, ...s }: Session, state: State): Session => ({ ...s, state });
const keepalive: Effect = { kind: "send", message: { kind: "keepalive" } };
const stay = (s: Session): Step => [s, []];

/** RFC 4271 §10: ConnectRetry, keepalive and idle hold times are jittered. */
const connectRetry = (s: Session, jitter: number): Effect =>
  arm("connectRetry", s.settings.connectRetrySeconds * jitter);

/** Idle → Connect, or Active when we only listen. */
const start = (s: Session, _e: object, jitter: number): Step =>
  s.settings.passive
    ? [to(s, "Active"), [disarm("idleHold")]]
    : [to(s, "Connect"), [disarm("idleHold"), connectRetry(s, jitter), { kind: "connect" }]];

/** Connect, Active → OpenSent, at once or after the DelayOpen time. */
const connected = (s: Session): Step =>
  s.settings.delayOpenSeconds
    ? [{ ...s, delaying: true }, [disarm("connectRetry"), arm("delayOpen", s.settings.delayOpenSeconds)]]
    : [to(s, "OpenSent"), [disarm("connectRetry"), ...ourOpen(s)]];

/** §8.2.2 suggests 4 minutes for the hold timer before the peer's OPEN. */
const ourOpen = (s: Session): Effect[] => [
  { kind: "send", message: openOf(s.settings) },
  arm("hold", timers.largeHold),
];

const delayOver = (s: Session, _e: object, jitter: number): Step =>
  s.delaying ? [to(s, "OpenSent"), ourOpen(s)] : abandon(s, `DelayOpenTimerExpired in ${s.state}`, jitter);

/** §8.1.4 event 20: the peer spoke first. Our OPEN goes out and its own is answered. */
function openWhileDelaying(s: Session, e: Events["OpenReceived"], jitter: number): Step {
  if (!s.delaying) return abandon(s, `OpenReceived in ${s.state}`, jitter);
  const [next, effects] = openReceived(s, e, jitter);
  return [next, [disarm("delayOpen"), { kind: "send", message: openOf(s.settings) }, ...effects]];
}

const dial = (s: Session, _e: object, jitter: number): Step =>
  s.settings.passive ? stay(s) : [to(s, "Connect"), [close, connectRetry(s, jitter), { kind: "connect" }]];

/** Back to listening, and to dialling when the ConnectRetry timer expires. */
const wait = (s: Session, { why }: Events["TcpFailed"], jitter: number): Step => [
  { ...to(s, "Active"), peer: undefined, negotiated: undefined },
  [
    close,
    disarm("delayOpen"),
    disarm("hold"),
    ...(s.settings.passive ? [] : [connectRetry(s, jitter)]),
    { kind: "ended", ending: { by: "tcp", words: why, established: false } },
  ],
];

/** OpenSent → OpenConfirm: KEEPALIVE answers a good OPEN; a bad one is refused. */
function openReceived(s: Session, { open }: Events["OpenReceived"], jitter: number): Step {
  try {
    const negotiated = negotiate(s.settings, open);
    return [
      { ...to(s, "OpenConfirm"), peer: open, negotiated },
      [keepalive, ...sessionTimers(negotiated, jitter)],
    ];
  } catch (error) {
    if (error instanceof BgpError) return refuse(s, error, jitter);
    throw error;
  }
}

const sessionTimers = (n: Negotiated, jitter: number): Effect[] =>
  n.holdTimeSeconds === 0
    ? [disarm("hold"), disarm("keepalive")]
    : [arm("hold", n.holdTimeSeconds), arm("keepalive", n.keepaliveSeconds * jitter)];

const sendKeepalive = (s: Session, _e: object, jitter: number): Step => [
  s,
  [
    keepalive,
    arm("keepalive", (s.negotiated?.keepaliveSeconds ?? timers.hold / timers.keepaliveShare) * jitter),
  ],
];

/** Any sign of life restarts the hold timer, unless hold time 0 was agreed. */
const alive = (s: Session): Effect[] =>
  s.negotiated && s.negotiated.holdTimeSeconds > 0 ? [arm("hold", s.negotiated.holdTimeSeconds)] : [];

/** Nearly all that is received: nothing is copied. */
function updated(s: Session, { update }: Events["UpdateReceived"]): Step {
  const effects = alive(s);
  effects.push({ kind: "routes", update });
  return [s, effects];
}

/** OpenConfirm → Established. */
function confirmed(s: Session): Step {
  const { negotiated } = s;
  if (!negotiated) throw new Error("OpenConfirm without a negotiated session"); // broken invariant
  const effects: Effect[] = [...alive(s), ...written(s), arm("stable", timers.stable)];
  return [to(s, "Established"), [...effects, { kind: "established", negotiated }]];
}

/** RFC 9687 §3.3: restarted whenever something went out. */
const written = ({ negotiated }: Session): Effect[] =>
  negotiated && negotiated.sendHoldSeconds > 0 ? [arm("sendHold", negotiated.sendHoldSeconds)] : [];

/** Connect and Active differ in nothing but who waits for whom. */
const connecting: Row = {
  Start: stay,
  Stop: stopQuietly,
  ConnectRetryTimerExpired: dial,
  DelayOpenTimerExpired: delayOver,
  TcpConnected: connected,
  TcpFailed: wait,
  OpenReceived: openWhileDelaying,
  MessageRefused: refusedQuietly,
  NotificationReceived: notified,
};

/** The rows of §8.2.2. Exported for the test that walks every cell. */
export const table: Readonly<Record<State, Row>> = {
  Idle: {
    Start: start,
    IdleHoldTimerExpired: start,
    Stop: (s) => [{ ...s, failures: 0 }, [disarm("idleHold")]],
  },
  Connect: connecting,
  Active: connecting,
  OpenSent: {
    Start: stay,
    Stop: stop,
    AutomaticStop: automaticStop,
    HoldTimerExpired: holdExpired,
    Written: stay,
    TcpFailed: wait,
    OpenReceived: openReceived,
    MessageRefused: messageRefused,
    CollisionLost: collisionLost,
    NotificationReceived: notified,
  },
  OpenConfirm: {
    Start: stay,
    Stop: stop,
    AutomaticStop: automaticStop,
    HoldTimerExpired: holdExpired,
    KeepaliveTimerExpired: sendKeepalive,
    Written: stay,
    TcpFailed: tcpFailed,
    MessageRefused: messageRefused,
    CollisionLost: collisionLost,
    NotificationReceived: notified,
    KeepaliveReceived: confirmed,
  },
  Established: {
    Start: stay,
    Stop: stop,
    AutomaticStop: automaticStop,
    HoldTimerExpired: holdExpired,
    KeepaliveTimerExpired: sendKeepalive,
    TcpFailed: tcpFailed,
    MessageRefused: messageRefused,
    CollisionLost: collisionLost,
    NotificationReceived: notified,
    KeepaliveReceived: (s) => [s, alive(s)],
    SendHoldTimerExpired: sendHoldExpired,
    StableTimerExpired: (s) => [{ ...s, failures: 0 }, []],
    Written: (s) => [s, written(s)],
    UpdateReceived: updated,
    RefreshReceived: (s, { family, subtype }) => [s, [{ kind: "refresh", family, subtype }]],
  },
};

/** RFC 6608 §3: the subcode names the state in which the event made no sense. */
const fsmErrors: Readonly<Record<"OpenSent" | "OpenConfirm" | "Established", ErrorCode>> = {
  OpenSent: "fsm-open-sent",
  OpenConfirm: "fsm-open-confirm",
  Established: "fsm-established",
};

/** Absent cells: Idle ignores, Connect and Active go back to Idle in silence, the others send FSM Error. */
function unexpected(s: Session, event: Event): Step {
  switch (s.state) {
    case "Idle":
      return stay(s);
    case "Connect":
    case "Active":
      return abandon(s, `${event.kind} in ${s.state}`, 1);
    default:
      return refuse(s, new BgpError(fsmErrors[s.state], { detail: event.kind }), 1);
  }
}
