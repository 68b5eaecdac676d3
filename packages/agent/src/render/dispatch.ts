import { ruleIds } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";

/** From whom, or to whom: which chains are entered, and by which interface of the packet. */
export interface Dispatch {
  readonly root: string;
  /** Names of the chains below the root begin with this, 10 characters. */
  readonly below: string;
  readonly interfaceWord: "-i" | "-o";
  readonly chainOf: (interfaceName: string) => string;
}

export const fromWorkload: Dispatch = {
  root: names.chains.fromWorkload,
  below: "margay-fd-",
  interfaceWord: "-i",
  chainOf: names.chains.from,
};

export const toWorkload: Dispatch = {
  root: names.chains.toWorkload,
  below: "margay-td-",
  interfaceWord: "-o",
  chainOf: names.chains.to,
};

/** Up to this many interfaces are listed one by one; more are split by their next character. */
const LIST_AT_MOST = 8;

/**
 * Chains that lead a packet to the chain of its interface: a prefix tree, so that with 1,500 interfaces some 20 rules
 * are asked instead of 750 (architecture.md, "Packet-path shape"). Every chain ends with a drop: calls go downward by
 * goto, so the end of one is the end of all, and an interface that is nobody's must not get through.
 *
 *     margay-from-wl        -i cali0+ -> margay-fd-cali0,  -i cali1+ -> margay-fd-cali1, ... drop
 *     margay-fd-cali0       -i cali01f.. -> margay-fw-cali01f.., ... drop
 */
export function dispatchChains(
  interfaceNames: readonly string[],
  dispatch: Dispatch,
  config: RenderConfig,
): ReadonlyMap<string, readonly Rule[]> {
  const chains = new Map<string, readonly Rule[]>();
  const unknown: Rule = { match: [], target: config.deny, id: ruleIds.unknownInterface };
  const goto = (pattern: string, chain: string): Rule => ({
    match: [dispatch.interfaceWord, pattern],
    target: ["-g", chain],
  });
  const grow = (chain: string, among: readonly string[]): void => {
    const { listed, groups } = split(among);
    const direct = listed.map((name) => goto(name, dispatch.chainOf(name)));
    const below = groups.map(({ prefix }) => goto(`${prefix}+`, dispatch.below + prefix));
    chains.set(chain, [...direct, ...below, unknown]);
    for (const { prefix, members } of groups) grow(dispatch.below + prefix, members);
  };
  grow(dispatch.root, [...new Set(interfaceNames)].sort());
  return chains;
}

/** Few names are listed. Of many, those as short as their common prefix are listed and the rest go by the next letter. */
function split(among: readonly string[]): {
  listed: readonly string[];
  groups: { prefix: string; members: string[] }[];
} {
  if (among.length <= LIST_AT_MOST) return { listed: among, groups: [] };
  const length = commonPrefix(among).length;
  const listed = among.filter((name) => name.length === length);
  const longer = Map.groupBy(
    among.filter((name) => name.length > length),
    (name) => name.slice(0, length + 1),
  );
  return { listed, groups: [...longer].map(([prefix, members]) => ({ prefix, members })) };
}

/** Of sorted names: that of the first and the last is that of all. */
function commonPrefix(sorted: readonly string[]): string {
  const [first = "", last = ""] = [sorted[0], sorted.at(-1)];
  let length = 0;
  while (length < first.length && first[length] === last[length]) length++;
  return first.slice(0, length);
}
