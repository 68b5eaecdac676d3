/** What a message and an expired timer are to the session machine (pure). */
import { type Event, type Negotiated, readMessage, type Session, type TimerName } from "@margay/bgp";

export const timerEvents = {
  connectRetry: { kind: "ConnectRetryTimerExpired" },
  hold: { kind: "HoldTimerExpired" },
  keepalive: { kind: "KeepaliveTimerExpired" },
  idleHold: { kind: "IdleHoldTimerExpired" },
  delayOpen: { kind: "DelayOpenTimerExpired" },
  sendHold: { kind: "SendHoldTimerExpired" },
  stable: { kind: "StableTimerExpired" },
} as const satisfies Record<TimerName, Event>;

type Frame = Parameters<typeof readMessage>[0];
type Context = Parameters<typeof readMessage>[1];

/** A whole message, read as its session negotiated. Throws BgpError where the session must end. */
export function messageEvent(frame: Frame, { negotiated }: Session): Event {
  const message = readMessage(frame, negotiated ? contextOf(negotiated) : beforeOpen);
  switch (message.kind) {
    case "open":
      return { kind: "OpenReceived", open: message };
    case "keepalive":
      return { kind: "KeepaliveReceived" };
    case "update":
      return { kind: "UpdateReceived", update: message };
    case "notification":
      return { kind: "NotificationReceived", notification: message };
    case "route-refresh":
      return {
        kind: "RefreshReceived",
        subtype: message.subtype,
        ...(message.family ? { family: message.family } : {}),
      };
  }
}

const beforeOpen: Context = { as4: false, internal: false, families: [] };

/** One object for all messages of a session. */
const contexts = new WeakMap<Negotiated, Context>();

function contextOf(negotiated: Negotiated): Context {
  const known = contexts.get(negotiated);
  if (known) return known;
  const { as4, internal, families, extendedNextHop, addPath } = negotiated;
  const made = { as4, internal, families, extendedNextHop, addPath: addPath?.receive ?? [] };
  contexts.set(negotiated, made);
  return made;
}
