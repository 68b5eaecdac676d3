import type { FloatingAddress, LocalEndpoint, NodeState } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import { type Family, formatAddress, formatPrefix } from "@margay/net";
import { type AddressTree, addressTree, type ByAddress } from "./address-tree.ts";
import { poolsSet } from "./host.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

/** What translates the destination, and what is asked first of a packet that leaves. */
export interface FloatingRules {
  /** By key. */
  readonly chains: ReadonlyMap<string, Chain>;
  readonly source: readonly Rule[];
}

const DESTINATION: AddressTree = {
  ...{ root: names.chains.floating, word: "-d" },
  chainOf: (net) => names.chains.floatingTo(formatPrefix(net)),
};
const SOURCE: AddressTree = {
  ...{ root: "margay-floating-src", word: "-s" },
  chainOf: (net) => names.chains.floatingFrom(formatPrefix(net)),
};

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
  if (pairs.length === 0) return { chains: new Map(), source: [] };
  const outside = ["-m", "set", "!", "--match-set", poolsSet(state, family, sets), "dst"];
  const all = [
    ...addressTree(pairs.map(translatedTo), DESTINATION),
    ...addressTree(
      pairs.filter(({ isFirst }) => isFirst).map((pair) => translatedFrom(pair, outside)),
      SOURCE,
    ),
  ];
  return {
    chains: new Map(all.map(([name, chain]) => [`nat/${name}`, chain])),
    source: [{ match: [], target: ["-j", SOURCE.root] }],
  };
}

const translatedTo = ({ external, internal }: FloatingAddress): ByAddress => ({
  address: external,
  rules: [
    {
      match: ["-d", formatAddress(external)],
      target: ["-j", "DNAT", "--to-destination", formatAddress(internal)],
    },
  ],
});

function translatedFrom({ external, internal }: FloatingAddress, outside: readonly string[]): ByAddress {
  const target = ["-j", "SNAT", "--to-source", formatAddress(external)];
  const own = formatAddress(internal);
  return {
    address: internal,
    rules: [
      { match: ["-s", own, "-d", own], target },
      { match: ["-s", own, ...outside], target },
    ],
  };
}

function pairsOf({ floating = [] }: LocalEndpoint, family: Family) {
  const ours = floating.filter(({ external }) => external.family === family);
  return ours.map((pair, i) => ({ ...pair, isFirst: i === 0 }));
}
