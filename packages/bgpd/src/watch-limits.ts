import { limitState, type Rib, tooManyPrefixes } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Log } from "./log.ts";
import type { Peer } from "./peer.ts";
import type { Presence } from "./presence.ts";
import { inLog } from "./settings.ts";

const families = [4, 6] as const;

/** RFC 4271 §6.7: a peer that announces too many prefixes is warned of, then its session ends. */
export function watchLimits(
  peer: Peer,
  { source, limits }: Presence,
  { ribs, log }: { readonly ribs: Readonly<Record<Family, Rib>>; readonly log: Log },
): void {
  for (const family of families) {
    const limit = peer.wanted.policyTerms?.prefixLimits?.[family];
    if (!limit) continue;
    const state = limitState(limit, ribs[family].counts(source).received);
    if (state === (limits.get(family) ?? "below")) continue;
    limits.set(family, state);
    const { max } = limit;
    if (state !== "below")
      log.warn(
        { event: "prefix-limit", ...inLog(peer.wanted), family, state, max },
        `${peer.wanted.name}: prefixes of IPv${family} ${state} the limit of ${max}`,
      );
    if (state !== "above" || limit.exceeded === "warn") continue;
    peer.giveUp(tooManyPrefixes(family, limit), limit.exceeded.restartSeconds);
    return;
  }
}
