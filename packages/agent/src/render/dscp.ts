import type { NodeState } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import { hostsSet, poolsSet } from "./host.ts";
import type { SetRefs } from "./sets.ts";

/** Code points (RFC 2474) on what endpoints that ask for one send out of the cluster: to no pool and no node. */
export function dscpRules(
  state: NodeState,
  { family, sets }: { family: Family; sets: SetRefs },
): readonly Rule[] {
  const asking = state.endpoints.filter(({ dscp }) => dscp !== undefined);
  if (asking.length === 0) return [];
  const inside = [poolsSet(state, family, sets), hostsSet(state, family, sets)];
  const outside = inside.flatMap((set) => ["-m", "set", "!", "--match-set", set, "dst"]);
  return asking.map(({ interfaceName, dscp }) => ({
    match: ["-i", interfaceName, ...outside],
    target: ["-j", "DSCP", "--set-dscp", String(dscp)],
  }));
}
