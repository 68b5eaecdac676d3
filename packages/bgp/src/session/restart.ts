import type { Family } from "@margay/net";
import { isHardReset } from "../wire/notification.ts";
import type { Negotiated } from "./negotiate.ts";
import type { Ending } from "./session.ts";

/** How long routes of a family outlive the session: the restart time, then as a last resort. Not both are 0. */
export interface KeptFor {
  readonly family: Family;
  readonly restartSeconds: number;
  readonly longLivedSeconds: number;
}

const bothFamilies = [4, 6] as const;

/**
 * Which routes of a peer outlive its session: when TCP broke (RFC 4724 §4.2) and, after RFC 8538 §4, when either
 * side sent a NOTIFICATION that is no Hard Reset. Those of the families that it listed: a peer that lists none only helps
 * others to restart.
 */
export function keptFor(ending: Ending, { gracefulRestart, longLived = [] }: Negotiated): readonly KeptFor[] {
  if (!ending.established || !gracefulRestart) return [];
  const survives = ending.notification
    ? gracefulRestart.notification === true && !isHardReset(ending.notification)
    : ending.by === "tcp";
  if (!survives) return [];
  const { families, restartTimeSeconds } = gracefulRestart;
  return bothFamilies
    .map((family) => ({
      family,
      restartSeconds: families.some((f) => f.family === family) ? restartTimeSeconds : 0,
      longLivedSeconds: longLived.find((f) => f.family === family)?.staleTimeSeconds ?? 0,
    }))
    .filter(({ restartSeconds, longLivedSeconds }) => restartSeconds + longLivedSeconds > 0);
}
