import { ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer, Parts } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";

/** From whom, or to whom: which chains are entered, and by which interface of the packet. */
export interface Dispatch {
  readonly root: string;
  /** Names of the chains below the root begin with this, 10 characters. */
  readonly below: string;
  readonly interfaceWord: "-i" | "-o";
  readonly chainOf: (interfaceName: string) => string;
  /** Filter if absent. */
  readonly table?: "mangle" | "raw";
  /** What becomes of what is nobody's, instead of being dropped as such: without rules it goes back to where the root was called. */
  readonly others?: readonly Rule[];
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

/** The same, where the groups of interfaces say what becomes of those that have no entry. */
export const fromWorkloadOrCohort: Dispatch = {
  ...fromWorkload,
  others: [{ match: [], target: ["-g", names.chains.fromCohort] }],
};

export const toWorkloadOrCohort: Dispatch = {
  ...toWorkload,
  others: [{ match: [], target: ["-g", names.chains.toCohort] }],
};

/** What packets of one interface are asked where they are dispatched: each rule matches that interface, and one of them ends it. */
export interface Entry {
  readonly interfaceName: string;
  readonly rules: readonly Rule[];
}

/** These rules, of one interface alone. */
export const entryOf = (
  interfaceName: string,
  { interfaceWord }: Dispatch,
  rules: readonly Rule[],
): Entry => ({
  interfaceName,
  rules: rules.map((rule) => ({ ...rule, match: [interfaceWord, interfaceName, ...rule.match] })),
});

/** To the chain of the interface; the same object for the same. */
export function gotoEntry(interfaceName: string, dispatch: Dispatch, config: RenderConfig): Entry {
  const { gotos } = keptOf(config, dispatch);
  const known =
    gotos.get(interfaceName) ??
    entryOf(interfaceName, dispatch, [{ match: [], target: ["-g", dispatch.chainOf(interfaceName)] }]);
  if (gotos.size > GOTOS_AT_MOST) gotos.clear();
  gotos.set(interfaceName, known);
  return known;
}

/**
 * Chains that lead a packet to what is asked of its interface: a prefix tree, so that with 1,500 interfaces some 30 rules
 * are asked instead of thousands. Every chain ends with a drop, unless `others` says otherwise: calls go downward by goto, so the end of one is the
 * end of all, and an interface that is nobody's must not get through. `entries` are in order of interface, one of each.
 *
 *     margay-from-wl        -i cali0+ -> margay-fd-cali0,  -i cali1+ -> margay-fd-cali1, ... drop
 *     margay-fd-cali0       -i cali01f.. and the rules of its entry, ... drop
 */
export function dispatchChains(
  entries: readonly Entry[],
  dispatch: Dispatch,
  { config, family }: { readonly config: RenderConfig; readonly family: Family },
): Parts<Chain> {
  const { roots } = keptOf(config, dispatch);
  const known = ([4, 6] as const)
    .map((either) => roots[either]) // with chains of their own, the same interfaces often have both
    .find((last) => last && sameItems(last.among, entries));
  const root = known ?? grown(entries, dispatch, { config, before: roots[family] });
  roots[family] = root;
  return chainsOf(root);
}

/** Chains of single interfaces, and what leads to them: a packet is asked nothing of those that are not its own. */
export interface Dispatched {
  /** By key. */
  readonly chains: ReadonlyMap<string, Chain>;
  /** For the chain that asks; empty where no interface has one. */
  readonly jumps: readonly Rule[];
}

/** `own` by interface. */
export function dispatched(
  own: ReadonlyMap<string, Chain>,
  dispatch: Dispatch,
  context: Parameters<typeof dispatchChains>[2],
): Dispatched {
  if (own.size === 0) return { chains: own, jumps: [] };
  const table = dispatch.table ?? "filter";
  const its = [...own].map(([name, chain]) => [`${table}/${dispatch.chainOf(name)}`, chain] as const);
  const entries = [...own.keys()].sort().map((name) => gotoEntry(name, dispatch, context.config));
  return {
    chains: new Map([...its, ...dispatchChains(entries, dispatch, context)]),
    jumps: [{ match: [], target: ["-j", dispatch.root] }],
  };
}

/** Anew, as far as it changed since `before`. */
function grown(
  entries: readonly Entry[],
  dispatch: Dispatch,
  { config, before }: { readonly config: RenderConfig; readonly before: Branch | undefined },
): Branch {
  const grow = (name: string, among: readonly Entry[], last: Branch | undefined): Branch => {
    if (last && sameItems(last.among, among)) return last;
    const { listed, groups } = split(among, config.dispatchAtMost);
    const below = groups.map(
      ({ prefix, members }) =>
        [prefix, grow(dispatch.below + prefix, members, last?.below.get(prefix))] as const,
    );
    const leads =
      last && sameItems(last.listed, listed) && sameItems([...last.below.keys()], prefixesOf(groups));
    const chain = leads ? last.chain : { rules: rulesOf({ listed, groups }, dispatch, config) };
    return { key: `${dispatch.table ?? "filter"}/${name}`, among, listed, below: new Map(below), chain };
  };
  return grow(dispatch.root, entries, before);
}

/** One chain of the tree, and those below it: made anew only when its interfaces are others. */
interface Branch {
  readonly key: string;
  readonly among: readonly Entry[];
  readonly listed: readonly Entry[];
  /** By prefix. */
  readonly below: ReadonlyMap<string, Branch>;
  readonly chain: Chain;
}

/** The root, and each branch below it as a part. */
const chainsOf = oncePer(
  ({ key, chain, below }: Branch): Parts<Chain> =>
    new Parts(
      new Map([
        ["", new Map([[key, chain]])],
        ...[...below].map(([prefix, branch]) => [prefix, allIn(branch)] as const),
      ]),
    ),
);

const allIn = oncePer(
  ({ key, chain, below }: Branch): ReadonlyMap<string, Chain> =>
    new Map([[key, chain], ...[...below.values()].flatMap((branch) => [...allIn(branch)])]),
);

/** What the last calls made. */
interface Kept {
  readonly roots: Partial<Record<Family, Branch>>;
  /** By interface, also of some that have gone. */
  readonly gotos: Map<string, Entry>;
}

const GOTOS_AT_MOST = 10_000;
const kept = new WeakMap<RenderConfig, Map<string, Kept>>();

function keptOf(config: RenderConfig, { root, others }: Dispatch): Kept {
  const all = kept.get(config) ?? new Map<string, Kept>();
  kept.set(config, all);
  const key = [root, ...(others ?? []).flatMap(({ target }) => target)].join(" ");
  const its = all.get(key) ?? { roots: {}, gotos: new Map() };
  all.set(key, its);
  return its;
}

const sameItems = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a === b || (a.length === b.length && a.every((item, i) => item === b[i]));

const rulesOf = ({ listed, groups }: Split, dispatch: Dispatch, config: RenderConfig): readonly Rule[] => [
  ...listed.flatMap(({ rules }) => rules),
  ...groups.map(({ prefix }) => ({
    match: [dispatch.interfaceWord, `${prefix}+`],
    target: ["-g", dispatch.below + prefix],
  })),
  ...(dispatch.others ?? [{ match: [], target: config.deny, id: ruleIds.unknownInterface }]),
];

interface Split {
  readonly listed: readonly Entry[];
  readonly groups: readonly { readonly prefix: string; readonly members: readonly Entry[] }[];
}

const prefixesOf = (groups: Split["groups"]): string[] => groups.map(({ prefix }) => prefix);

/** With one letter more and the `+` a pattern has all 15 characters that the kernel takes. */
const PREFIX_AT_MOST = 13;

/**
 * Few interfaces are listed, and those that only their last letter tells apart. Of many, those with names as short as their common prefix are
 * listed and the rest go by the next letter.
 */
function split(among: readonly Entry[], listAtMost: number): Split {
  const length = commonPrefix(among).length;
  if (among.length <= listAtMost || length > PREFIX_AT_MOST) return { listed: among, groups: [] };
  const listed = among.filter(({ interfaceName }) => interfaceName.length === length);
  const longer = Map.groupBy(
    among.filter(({ interfaceName }) => interfaceName.length > length),
    ({ interfaceName }) => interfaceName.slice(0, length + 1),
  );
  return { listed, groups: [...longer].map(([prefix, members]) => ({ prefix, members })) };
}

/** Of names in order: that of the first and the last is that of all. */
function commonPrefix(inOrder: readonly Entry[]): string {
  const [first = "", last = ""] = [inOrder[0]?.interfaceName, inOrder.at(-1)?.interfaceName];
  let length = 0;
  while (length < first.length && first[length] === last[length]) length++;
  return first.slice(0, length);
}
