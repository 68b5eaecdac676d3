/** How sessions end: the cells of the state machine (fsm.ts) that lead to Idle, with the NOTIFICATION that says why. */
import { BgpError, type ErrorCode } from "../wire/error.ts";
import { describeNotification, hardReset, type Notification, notificationOf } from "../wire/notification.ts";
import {
  type Effect,
  type Ending,
  type Events,
  type Session,
  type Step,
  type TimerName,
  timerNames,
} from "./session.ts";

export const arm = (timer: TimerName, seconds: number): Effect => ({ kind: "arm", timer, seconds });
export const disarm = (timer: TimerName): Effect => ({ kind: "disarm", timer });
export const close: Effect = { kind: "close" };

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
export const refuse = (s: Session, error: BgpError, jitter: number): Step =>
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
export const abandon = (s: Session, words: string, jitter: number): Step =>
  end(s, { by: "us", words, established: false }, { jitter, restart: "damped" });

export const stopQuietly = (s: Session, { error }: Events["Stop"]): Step =>
  end(s, { by: "us", words: error.message, established: false }, { jitter: 1, restart: "when told" });

export const stop = (s: Session, { error }: Events["Stop"]): Step =>
  end(s, ours(s, error), { jitter: 1, restart: "when told" });

export const automaticStop = (s: Session, { error, restartSeconds }: Events["AutomaticStop"]): Step => {
  const restart: Restart = restartSeconds === undefined ? "when told" : { afterSeconds: restartSeconds };
  return end(s, ours(s, error), { jitter: 1, restart });
};

/** RFC 9687 §3.3: the peer has read nothing for too long. The NOTIFICATION goes the same way, if it goes. */
export const sendHoldExpired = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("send-hold-timer-expired"), jitter);

export const holdExpired = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("hold-timer-expired"), jitter);

/** Before our OPEN (events 21, 22): no NOTIFICATION without OPEN, §8.1.1. */
export const refusedQuietly = (s: Session, { error }: Events["MessageRefused"], jitter: number): Step =>
  abandon(s, error.message, jitter);

export const messageRefused = (s: Session, { error }: Events["MessageRefused"], jitter: number): Step =>
  refuse(s, error, jitter);

export const collisionLost = (s: Session, _e: object, jitter: number): Step =>
  refuse(s, new BgpError("connection-collision"), jitter);

export const notified = (
  s: Session,
  { notification }: Events["NotificationReceived"],
  jitter: number,
): Step => {
  const established = s.state === "Established";
  const ending: Ending = { by: "peer", words: describeNotification(notification), established, notification };
  return end(s, ending, { jitter, restart: "damped" });
};

export const tcpFailed = (s: Session, { why }: Events["TcpFailed"], jitter: number): Step =>
  end(s, { by: "tcp", words: why, established: s.state === "Established" }, { jitter, restart: "damped" });
