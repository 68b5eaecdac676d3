import { type LocalEndpoint, type NodeState, ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import { type Dispatch, type Dispatched, dispatched } from "./dispatch.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

const DROP: Rule = { match: [], target: ["-j", "DROP"], id: ruleIds.reversePath };

const FROM: Dispatch = {
  ...{ root: "margay-rpf", below: "margay-rq-", interfaceWord: "-i", table: "raw", others: [DROP] },
  chainOf: names.chains.reversePath,
};

interface Context {
  readonly config: RenderConfig;
  readonly family: Family;
  readonly sets: SetRefs;
}

/**
 * A packet from a workload is dropped if its source is not routed back to the same interface (RFC 3704 §2.2), or, loosely, is
 * not routed at all (§2.4). What a workload may send from besides is asked of those packets alone, by their interface.
 */
export function reversePath(state: NodeState, { sets, ...context }: Context): Dispatched {
  const { config, family } = context;
  const { workloadRPF } = config.felix;
  if (workloadRPF === "Disabled") return { chains: new Map(), jumps: [] };
  const own = state.endpoints.flatMap((endpoint) => {
    const chain = exempting(endpoint, family, sets);
    return chain ? [[endpoint.interfaceName, chain] as const] : [];
  });
  const { chains, jumps } = dispatched(new Map(own), FROM, context);
  const loosely = workloadRPF === "Loose" ? ["--loose"] : [];
  const check = ["-m", "rpfilter", ...loosely, "--validmark", "--invert"];
  const failing = jumps[0] ?? DROP;
  return { chains, jumps: config.interfaces.map((name) => ({ ...failing, match: ["-i", name, ...check] })) };
}

/** Undefined: it may use no further sources. */
function exempting({ spoofable }: LocalEndpoint, family: Family, sets: SetRefs): Chain | undefined {
  const nets = spoofable.filter((net) => net.family === family);
  if (nets.length === 0) return undefined;
  const match = ["-m", "set", "--match-set", sets.nets(nets, family), "src"];
  return { rules: [{ match, target: ["-j", "RETURN"] }, DROP] };
}
