import { ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer, Parts, placeIn } from "@margay/reconcile";
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

/**
 * Chains that lead a packet to the chain of its interface: a prefix tree, so that with 1,500 interfaces some 20 rules
 * are asked instead of 750. Every chain ends with a drop, unless `others` says otherwise: calls go downward by goto, so the end of one is the
 * end of all, and an interface that is nobody's must not get through.
 *
 *     margay-from-wl        -i cali0+ -> margay-fd-cali0,  -i cali1+ -> margay-fd-cali1, ... drop
 *     margay-fd-cali0       -i cali01f.. -> margay-fw-cali01f.., ... drop
 */
export function dispatchChains(
  interfaceNames: readonly string[],
  dispatch: Dispatch,
  { config, family }: { readonly config: RenderConfig; readonly family: Family },
): Parts<Chain> {
  const all = kept.get(config) ?? new Map<string, Kept>();
  kept.set(config, all);
  const key = `${dispatch.root}/${family}`;
  const known = ([4, 6] as const)
    .map((either) => all.get(`${dispatch.root}/${either}`)) // almost always the same interfaces have both
    .find((last) => last && sameTexts(last.interfaceNames, interfaceNames));
  const made = known ?? grown(interfaceNames, dispatch, { config, before: all.get(key) });
  all.set(key, made);
  return chainsOf(made.root);
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
  return {
    chains: new Map([...its, ...dispatchChains([...own.keys()], dispatch, context)]),
    jumps: [{ match: [], target: ["-j", dispatch.root] }],
  };
}

/** Anew, as far as it changed since `before`. */
function grown(
  interfaceNames: readonly string[],
  dispatch: Dispatch,
  { config, before }: { readonly config: RenderConfig; readonly before: Kept | undefined },
): Kept {
  const gotos = before?.gotos ?? new Map<string, Rule>();
  const names = new Set(interfaceNames);
  if (gotos.size > 2 * names.size) gotos.clear();
  const former = new Set(before?.root.among);
  const stayed = before?.root.among.filter((name) => names.has(name)) ?? [];
  const fresh = [...names].filter((name) => !former.has(name));
  const grow = (name: string, among: readonly string[], last: Branch | undefined): Branch => {
    if (last && sameTexts(last.among, among)) return last;
    const { listed, groups } = split(among, config.dispatchAtMost);
    const below = groups.map(
      ({ prefix, members }) =>
        [prefix, grow(dispatch.below + prefix, members, last?.below.get(prefix))] as const,
    );
    const leads =
      last && sameTexts(last.listed, listed) && sameTexts([...last.below.keys()], prefixesOf(groups));
    const chain = leads ? last.chain : { rules: rulesOf({ listed, groups }, dispatch, { config, gotos }) };
    return { key: `${dispatch.table ?? "filter"}/${name}`, among, listed, below: new Map(below), chain };
  };
  return { interfaceNames, root: grow(dispatch.root, withFresh(stayed, fresh), before?.root), gotos };
}

/** Few more go to their places in what is sorted. */
function withFresh(sorted: readonly string[], fresh: readonly string[]): readonly string[] {
  if (fresh.length > 32) return [...sorted, ...fresh].sort();
  const all = [...sorted];
  for (const name of fresh)
    all.splice(
      placeIn(all, (other) => other < name),
      0,
      name,
    );
  return all;
}

/** One chain of the tree, and those below it: made anew only when its interfaces are others. */
interface Branch {
  readonly key: string;
  /** Sorted. */
  readonly among: readonly string[];
  readonly listed: readonly string[];
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

interface Kept {
  readonly interfaceNames: readonly string[];
  readonly root: Branch;
  /** By interface, also of some that have gone. */
  readonly gotos: Map<string, Rule>;
}

/** What the last calls made, by root and family. */
const kept = new WeakMap<RenderConfig, Map<string, Kept>>();

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((text, i) => text === b[i]));

const goto = ({ interfaceWord }: Dispatch, pattern: string, chain: string): Rule => ({
  match: [interfaceWord, pattern],
  target: ["-g", chain],
});

const rulesOf = (
  { listed, groups }: Split,
  dispatch: Dispatch,
  { config, gotos }: Pick<Kept, "gotos"> & { readonly config: RenderConfig },
): readonly Rule[] => [
  ...listed.map((name) => madeOnce(gotos, name, () => goto(dispatch, name, dispatch.chainOf(name)))),
  ...groups.map(({ prefix }) => goto(dispatch, `${prefix}+`, dispatch.below + prefix)),
  ...(dispatch.others ?? [{ match: [], target: config.deny, id: ruleIds.unknownInterface }]),
];

function madeOnce(made: Map<string, Rule>, name: string, make: () => Rule): Rule {
  const rule = made.get(name) ?? make();
  made.set(name, rule);
  return rule;
}

interface Split {
  readonly listed: readonly string[];
  readonly groups: readonly { readonly prefix: string; readonly members: readonly string[] }[];
}

const prefixesOf = (groups: Split["groups"]): string[] => groups.map(({ prefix }) => prefix);

/** Few names are listed. Of many, those as short as their common prefix are listed and the rest go by the next letter. */
function split(among: readonly string[], listAtMost: number): Split {
  if (among.length <= listAtMost) return { listed: among, groups: [] };
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
