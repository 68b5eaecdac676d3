import type { Chain, Rule } from "@margay/iptables";
import { type Address, formatPrefix, type Prefix, prefixOf, width } from "@margay/net";

/** Rules for the packets from, or to, one address. */
export interface ByAddress {
  readonly address: Address;
  readonly rules: readonly Rule[];
}

export interface AddressTree {
  readonly root: string;
  readonly word: "-s" | "-d";
  /** Of the chain for a network. */
  readonly chainOf: (net: Prefix) => string;
}

const LIST_AT_MOST = 8;
/** Three: up to eight branches. */
const BITS = 3;

/**
 * Chains that lead a packet to the rules for its address, by bits of it: of a thousand addresses some thirty rules are asked. What
 * is nobody's goes back to where the root was called. All of one family; by name.
 */
export function addressTree(
  entries: readonly ByAddress[],
  { root, word, chainOf }: AddressTree,
): ReadonlyMap<string, Chain> {
  const chains = new Map<string, Chain>();
  const grow = (name: string, among: readonly ByAddress[]): void => {
    const branches = among.length > LIST_AT_MOST ? branchesOf(among) : undefined;
    const goto = (net: Prefix): Rule => ({ match: [word, formatPrefix(net)], target: ["-g", chainOf(net)] });
    const rules = branches?.map(({ net }) => goto(net)) ?? among.flatMap((one) => one.rules);
    chains.set(name, { rules });
    for (const { net, members } of branches ?? []) grow(chainOf(net), members);
  };
  const inOrder = entries.toSorted((a, b) => (a.address.bits < b.address.bits ? -1 : 1));
  grow(root, inOrder);
  return chains;
}

interface Branch {
  readonly net: Prefix;
  readonly members: readonly ByAddress[];
}

/** By the first bits in which they differ; undefined if all are one address. */
function branchesOf(inOrder: readonly ByAddress[]): readonly Branch[] | undefined {
  const [first, last] = [inOrder[0]?.address, inOrder.at(-1)?.address];
  if (!first || !last || first.bits === last.bits) return undefined;
  const common = width(first.family) - (first.bits ^ last.bits).toString(2).length;
  const length = Math.min(common + BITS, width(first.family));
  const netOf = ({ address }: ByAddress) => prefixOf(address, length);
  const groups = Map.groupBy(inOrder, (one) => netOf(one).bits);
  return [...groups.values()].flatMap((members) => {
    const [one] = members;
    return one ? [{ net: netOf(one), members }] : [];
  });
}
