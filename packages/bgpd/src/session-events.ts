/** What a message and an expired timer are to the session machine (pure). */
import { type Event, readMessage, type Session, type TimerName } from "@margay/bgp";

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

/** A whole message, read as its session negotiated. Throws BgpError where the session must end. */
export function messageEvent(frame: Frame, { negotiated }: Session): Event {
  const { as4 = false, internal = false, families = [], extendedNextHop = false } = negotiated ?? {};
  const addPath = negotiated?.addPath?.receive ?? [];
  const message = readMessage(frame, { as4, internal, families, extendedNextHop, addPath });
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
