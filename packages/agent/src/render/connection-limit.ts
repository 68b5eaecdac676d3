import { type LocalEndpoint, ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import * as names from "./names.ts";

/** By key: the chains that count, one for each endpoint with a limit; and the jumps to them. */
export interface ConnectionLimits {
  readonly chains: ReadonlyMap<string, Chain>;
  readonly jumps: readonly Rule[];
}

/**
 * Limits of TCP connections, asked of what is forwarded and new, after policy: what that denied is not counted. The kernel counts
 * in the rule itself, so each endpoint's are in a chain of their own, which nothing but its limits changes.
 */
export function connectionLimits(endpoints: readonly LocalEndpoint[]): ConnectionLimits {
  const limited = endpoints.filter(({ connectionLimit }) => connectionLimit !== undefined);
  return {
    chains: new Map(
      limited.map((one) => [`filter/${names.chains.connections(one.interfaceName)}`, chainOf(one)]),
    ),
    jumps: limited.flatMap(({ interfaceName, connectionLimit = {} }) =>
      WORDS.filter(([direction]) => connectionLimit[direction] !== undefined).map(([, word]) => ({
        match: [word, interfaceName],
        target: ["-j", names.chains.connections(interfaceName)],
      })),
    ),
  };
}

const WORDS = [
  ["egress", "-i"],
  ["ingress", "-o"],
] as const;

const NEW = ["-p", "tcp", "-m", "conntrack", "--ctstate", "NEW"];

const chains = new WeakMap<LocalEndpoint, Chain>();

/** The same object for the same endpoint. */
function chainOf(endpoint: LocalEndpoint): Chain {
  const known = chains.get(endpoint) ?? { rules: rulesOf(endpoint) };
  chains.set(endpoint, known);
  return known;
}

const rulesOf = ({ interfaceName, connectionLimit = {} }: LocalEndpoint): readonly Rule[] =>
  WORDS.flatMap(([direction, word]) => {
    const most = connectionLimit[direction];
    if (most === undefined) return [];
    const beyond = ["-m", "connlimit", "--connlimit-above", String(most), "--connlimit-mask", "0"];
    return [
      {
        match: [word, interfaceName, ...NEW, ...beyond],
        target: ["-j", "REJECT", "--reject-with", "tcp-reset"],
        id: ruleIds.connectionLimit,
      },
    ];
  });
