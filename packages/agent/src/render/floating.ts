import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import { type Family, formatAddress } from "@margay/net";
import { poolsSet } from "./host.ts";
import type { SetRefs } from "./sets.ts";

/** Rules for floating addresses: where the destination is translated, and where the source is. */
export interface FloatingRules {
  readonly destination: readonly Rule[];
  readonly source: readonly Rule[];
}

/**
 * Floating addresses, one to one. What is for one goes to its endpoint, from outside, other pods and the node alike. What the
 * endpoint sends out of the pools comes from its first one; and so does what it sends to itself by one, or the answer would not
 * come back this way.
 */
export function floatingRules(
  state: NodeState,
  { family, sets }: { family: Family; sets: SetRefs },
): FloatingRules {
  const pairs = state.endpoints.flatMap((endpoint) => pairsOf(endpoint, family));
  if (pairs.length === 0) return { destination: [], source: [] };
  const outside = ["-m", "set", "!", "--match-set", poolsSet(state, family, sets), "dst"];
  return {
    destination: pairs.map(({ external, internal }) => ({
      match: ["-d", external],
      target: ["-j", "DNAT", "--to-destination", internal],
    })),
    source: pairs
      .filter(({ isFirst }) => isFirst)
      .flatMap(({ external, internal }) => {
        const target = ["-j", "SNAT", "--to-source", external];
        return [
          { match: ["-s", internal, "-d", internal], target },
          { match: ["-s", internal, ...outside], target },
        ];
      }),
  };
}

function pairsOf({ floating = [] }: LocalEndpoint, family: Family) {
  const ours = floating.filter(({ external }) => external.family === family);
  return ours.map(({ external, internal }, i) => ({
    external: formatAddress(external),
    internal: formatAddress(internal),
    isFirst: i === 0,
  }));
}
