import { type Direction, type LocalEndpoint, ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import { type Dispatch, type Dispatched, dispatched } from "./dispatch.ts";
import * as names from "./names.ts";

const FROM: Dispatch = {
  ...{ root: "margay-conn-from", below: "margay-cf-", interfaceWord: "-i", others: [] },
  chainOf: names.chains.connections,
};
const TO: Dispatch = {
  ...{ root: "margay-conn-to", below: "margay-ct-", interfaceWord: "-o", others: [] },
  chainOf: names.chains.connections,
};

/**
 * Limits of TCP connections, asked of what is forwarded and new, after policy: what that denied is not counted. The kernel counts
 * in the rule itself, so each endpoint's are in a chain of their own, which nothing but its limits changes.
 */
export function connectionLimits(
  endpoints: readonly LocalEndpoint[],
  context: { readonly config: RenderConfig; readonly family: Family },
): Dispatched {
  const of = (direction: Direction) =>
    new Map(
      endpoints
        .filter(({ connectionLimit }) => connectionLimit?.[direction] !== undefined)
        .map((one) => [one.interfaceName, chainOf(one)]),
    );
  const [from, to] = [dispatched(of("egress"), FROM, context), dispatched(of("ingress"), TO, context)];
  return { chains: new Map([...from.chains, ...to.chains]), jumps: [...from.jumps, ...to.jumps] };
}

const WORDS = [
  ["egress", "-i"],
  ["ingress", "-o"],
] as const;

const NEW = ["-p", "tcp", "-m", "conntrack", "--ctstate", "NEW"];

/** The same object for the same endpoint. */
const chainOf = oncePer((endpoint: LocalEndpoint): Chain => ({ rules: rulesOf(endpoint) }));

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
