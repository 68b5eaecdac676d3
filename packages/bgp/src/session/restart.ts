import { isHardReset } from "../wire/notification.ts";
import type { Ending } from "./fsm.ts";
import type { Negotiated } from "./negotiate.ts";

/**
 * Whether the routes of a peer outlive its session: when TCP broke (RFC 4724 §4.2) and, after RFC 8538 §4, when either
 * side sent a NOTIFICATION that is no Hard Reset. For the peer's restart time; 0 seconds mean no.
 */
export function keepsRoutes(ending: Ending, { gracefulRestart }: Negotiated): boolean {
  if (!ending.established || !gracefulRestart || gracefulRestart.restartTimeSeconds === 0) return false;
  if (!ending.notification) return ending.by === "tcp";
  return gracefulRestart.notification === true && !isHardReset(ending.notification);
}
