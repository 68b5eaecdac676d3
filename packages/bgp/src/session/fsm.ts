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
import { describeNotification, hardReset, type Notification, notificationOf } from "../wire/notification.ts";
import { type Negotiated, negotiate, openOf, type Settings } from "./negotiate.ts";
import {
  type Effect,
  type Ending,
  type Event,
  type Events,
  type Row,
  type Session,
  type State,
  type Step,
  type TimerName,
  timerNames,
} from "./session.ts";

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
const arm = (timer: TimerName, seconds: number): Effect => ({ kind: "arm", timer, seconds });
const disarm = (timer: TimerName): Effect => ({ kind: "disarm", timer });
const close: Effect = { kind: "close" };
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

/** When a session that ended starts again: after the damped idle hold time, a given one, or when told to. */
type Restart = "damped" | { readonly afterSeconds: number } | "when told";

/** Everything ends in Idle; `ending.notification` of ours goes to the peer first. */
function end(s: Session, ending: Ending, options: { jitter: number; restart: Restart }): Step {
  const { restart, jitter } = options;
  const failures = restart === "damped" ? s.failures + 1 : 0;
  const next: Session = { state: "Idle", settings: s.settings, failures };
  const effects: Effect[] = [
    ...(ending.by === "us" && ending.notification
      ? [{ kind: "send", message: ending.notification } as const]
      : []),
    close,
    ...timerNames.filter((t) => t !== "idleHold").map(disarm),
    restart === "when told"
      ? disarm("idleHold")
      : arm("idleHold", restart === "damped" ? damped(s) * jitter : restart.afterSeconds),
    { kind: "ended", ending },
  ];
  return [next, effects];
}

/** §8.1.1 DampPeerOscillations: the pause doubles with each fault, up to 32 times. */
const damped = ({ settings, failures }: Session): number =>
  settings.idleHoldSeconds * 2 ** Math.min(failures, 5);

/** We end it with a NOTIFICATION. */
const refuse = (s: Session, error: BgpError, jitter: number): Step =>
  end(s, ours(s, error), { jitter, restart: "damped" });

const ours = (s: Session, error: BgpError): Ending => ({
  by: "us",
  words: error.message,
  established: s.state === "Established",
  notification: ourNotification(s, error),
});

const forGood: ReadonlySet<ErrorCode> = new Set(["admin-shutdown", "peer-deconfigured", "max-prefixes"]);

/** RFC 8538 §3: with the N bit, what is meant for good is said as a Hard Reset; else the peer would keep the routes. */
function ourNotification(s: Session, error: BgpError): Notification {
  const plain = notificationOf(error);
  return forGood.has(error.code) && s.negotiated?.gracefulRestart?.notification ? hardReset(plain) : plain;
}

/** The connection is still without OPEN: nobody to notify. */
const abandon = (s: Session, words: string, jitter: number): Step =>
  end(s, { by: "us", words, established: false }, { jitter, restart: "damped" });

const stopQuietly = (s: Session, { error }: Events["Stop"]): Step =>
  end(s, { by: "us", words: error.message, established: false }, { jitter: 1, restart: "when told" });

const stop = (s: Session, { error }: Events["Stop"]): Step =>
  end(s, ours(s, error), { jitter: 1, restart: "when told" });

const automaticStop = (s: Session, { error, restartSeconds }: Events["AutomaticStop"]): Step => {
  const restart: Restart = restartSeconds === undefined ? "when told" : { afterSeconds: restartSeconds };
  return end(s, ours(s, error), { jitter: 1, restart });
};

/** RFC 9687 §3.3: the peer has read nothing for too long. The NOTIFICATION goes the same way, if it goes. */
const sendHoldExpired = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("send-hold-timer-expired"), jitter);

const holdExpired = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("hold-timer-expired"), jitter);

/** Before our OPEN (events 21, 22): no NOTIFICATION without OPEN, §8.1.1. */
const refusedQuietly = (s: Session, { error }: Events["MessageRefused"], jitter: number): Step =>
  abandon(s, error.message, jitter);

const messageRefused = (s: Session, { error }: Events["MessageRefused"], jitter: number): Step =>
  refuse(s, error, jitter);

const collisionLost = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("connection-collision"), jitter);

const notified = (s: Session, { notification }: Events["NotificationReceived"], jitter: number): Step => {
  const established = s.state === "Established";
  const ending: Ending = { by: "peer", words: describeNotification(notification), established, notification };
  return end(s, ending, { jitter, restart: "damped" });
};

const tcpFailed = (s: Session, { why }: Events["TcpFailed"], jitter: number): Step =>
  end(s, { by: "tcp", words: why, established: s.state === "Established" }, { jitter, restart: "damped" });

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
    UpdateReceived: (s, { update }) => [s, [...alive(s), { kind: "routes", update }]],
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
