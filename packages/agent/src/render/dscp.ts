import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import { type Dispatch, dispatched } from "./dispatch.ts";
import { hostsSet, poolsSet } from "./host.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

const FROM: Dispatch = {
  ...{ root: "margay-dscp-from", below: "margay-dd-", interfaceWord: "-i", table: "mangle", others: [] },
  chainOf: names.chains.codePoint,
};

/** The same object for the same endpoint. */
const marking = oncePer(
  ({ dscp }: LocalEndpoint): Chain => ({
    rules: [{ match: [], target: ["-j", "DSCP", "--set-dscp", String(dscp)] }],
  }),
);

/** Code points (RFC 2474) on what endpoints that ask for one send out of the cluster: to no pool and no node. By key. */
export function dscpChains(
  state: NodeState,
  { sets, ...context }: { family: Family; config: RenderConfig; sets: SetRefs },
): ReadonlyMap<string, Chain> {
  const asking = state.endpoints.filter(({ dscp }) => dscp !== undefined);
  if (asking.length === 0) return new Map();
  const own = new Map(asking.map((endpoint) => [endpoint.interfaceName, marking(endpoint)]));
  const { chains, jumps } = dispatched(own, FROM, context);
  const inside = [poolsSet(state, context.family, sets), hostsSet(state, context.family, sets)];
  const outside = inside.flatMap((set) => ["-m", "set", "!", "--match-set", set, "dst"]);
  const rules = jumps.map((jump) => ({ ...jump, match: outside }));
  return new Map([...chains, [`mangle/${names.chains.dscp}`, { rules }]]);
}
