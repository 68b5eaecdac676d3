import { isHardReset } from "../wire/notification.ts";
import type { Negotiated } from "./negotiate.ts";
import type { Ending } from "./session.ts";

/**
 * Whether the routes of a peer outlive its session: when TCP broke (RFC 4724 §4.2) and, after RFC 8538 §4, when either
 * side sent a NOTIFICATION that is no Hard Reset. For the peer's restart time, and then
 * its long-lived stale time (RFC 9494 §4.2); 0 seconds of both mean no.
 */
export function keepsRoutes(ending: Ending, { gracefulRestart, longLived = [] }: Negotiated): boolean {
  if (!ending.established || !gracefulRestart) return false;
  if (gracefulRestart.restartTimeSeconds === 0 && longLived.every((f) => f.staleTimeSeconds === 0))
    return false;
  if (!ending.notification) return ending.by === "tcp";
  return gracefulRestart.notification === true && !isHardReset(ending.notification);
}
