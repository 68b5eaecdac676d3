import type { Rule as RuleWords, Chain as Words } from "@margay/iptables";
import type { Family } from "@margay/net";
import { type Base, type Chain, type Item, itemKey, type NftMap, type Rule } from "@margay/nftables";
import { oncePer } from "@margay/reconcile";
import { chainName, chainNameOf, NETWORKS, portSetName, setName } from "./names.ts";
import { portSet, type SetKinds } from "./sets.ts";
import { translateRule } from "./words.ts";

export interface ChainContext {
  readonly family: Family;
  /** What the renderer's sets hold. */
  readonly kinds: SetKinds;
}

/** A chain, and what it needs that is its own: maps, and sets of ports. By key. */
export type Translated = ReadonlyMap<string, Item>;

interface Kept {
  readonly items: Translated;
  /** The renderer's sets that it names, and what they held. */
  readonly sets: ReadonlySet<string>;
  readonly kinds: string;
  /** What it was asked with the last time. */
  asked: SetKinds;
}

const kept = new WeakMap<Words, Partial<Record<Family, Kept>>>();

/** The same objects for the same chain, unless a set of its changed its kind. `key` is the renderer's. */
export function translateChain(key: string, words: Words, context: ChainContext): Translated {
  const all = kept.get(words) ?? {};
  const known = all[context.family];
  if (known?.asked === context.kinds) return known.items;
  if (known && kindsOf(known.sets, context) === known.kinds) {
    known.asked = context.kinds;
    return known.items;
  }
  const sets = new Set<string>();
  const items = translateAnew({ key, rules: words.rules, base: undefined }, context, sets);
  kept.set(words, {
    ...all,
    [context.family]: { items, sets, kinds: kindsOf(sets, context), asked: context.kinds },
  });
  return items;
}

const kindsOf = (sets: ReadonlySet<string>, { kinds }: ChainContext): string =>
  [...sets].map((set) => kinds.get(set) ?? "").join();

export interface Place {
  readonly key: string;
  readonly rules: readonly RuleWords[];
  readonly base: Base | undefined;
}

/** `sets` collects the names of the renderer's sets. */
export function translateAnew(
  { key, rules: all, base }: Place,
  { family, kinds }: ChainContext,
  sets: Set<string>,
): Translated {
  const [table = ""] = key.split("/");
  const name = chainNameOf(key);
  const items = new Map<string, Item>();
  const names = {
    setName,
    portSet: (list: string) => {
      items.set(itemKey(family, "set", portSetName(list)), portSet(list, family));
      return portSetName(list);
    },
  };
  const rules: Rule[] = [];
  for (const run of runs(all.flatMap((rule) => ways(rule, kinds, sets)))) {
    const map = run.length > 1 ? mapOf(run, table, family) : undefined;
    if (!map) rules.push(...run.map((rule) => translateRule(rule, table, names)));
    else {
      const mapName = items.has(itemKey(family, "map", name)) ? `${name}-${rules.length}` : name;
      items.set(itemKey(family, "map", mapName), map);
      rules.push({ match: [], action: { do: "vmap", fields: map.fields, map: mapName } });
    }
  }
  const chain: Chain = { kind: "chain", base, rules };
  return items.set(itemKey(family, "chain", name), chain);
}

const isSet = (word: string): boolean => word === "--match-set";

/**
 * One set of the renderer may be two here. Then a rule that asks for members of it is two, one for either, and one that asks for
 * others asks both. `sets` collects their names.
 */
function ways(rule: RuleWords, kinds: SetKinds, sets: Set<string>): readonly RuleWords[] {
  const { match } = rule;
  if (!match.some(isSet)) return [rule];
  let found: readonly (readonly string[])[] = [[]];
  for (let at = 0; at < match.length; at++) {
    const [word = "", name = "", side = ""] = match.slice(at, at + 3);
    if (!isSet(word)) {
      found = found.map((way) => [...way, word]);
      continue;
    }
    sets.add(name);
    const [addresses, networks] = [
      [word, name, side],
      [word, name + NETWORKS, side],
    ];
    const kind = kinds.get(name) ?? "addresses";
    const neither = ["-m", "set", "!"];
    found = found.flatMap((way) => {
      if (kind !== "both") return [[...way, ...(kind === "networks" ? networks : addresses)]];
      if (match[at - 1] === "!") return [[...way, ...addresses, ...neither, ...networks]];
      // An address may be in both, and what is logged goes on to the next rule.
      return [
        [...way, ...addresses],
        [...way, ...networks, ...(rule.target[1] === "LOG" ? [...neither, ...addresses] : [])],
      ];
    });
    at += 2;
  }
  return found.map((words) => ({ ...rule, match: words }));
}

/** Dispatching rules that stand together, and each of the others. */
function runs(rules: readonly RuleWords[]): readonly (readonly RuleWords[])[] {
  const found: RuleWords[][] = [];
  for (const rule of rules) {
    const last = found.at(-1);
    const [before] = last ?? [];
    if (last && before && isDispatch(rule) && isDispatch(before) && before.match[0] === rule.match[0])
      last.push(rule);
    else found.push([rule]);
  }
  return found;
}

/** Does nothing but send the packets of one interface to a chain. */
const isDispatch = ({ match: [word, name = "+", ...more], target, id }: RuleWords): boolean =>
  (word === "-i" || word === "-o") &&
  more.length === 0 &&
  !name.endsWith("+") &&
  target[0] === "-g" &&
  id === undefined;

function mapOf(run: readonly RuleWords[], table: string, family: Family): NftMap {
  const fields = [run[0]?.match[0] === "-i" ? ("iifname" as const) : ("oifname" as const)];
  return { kind: "map", family, fields, members: new Set(run.map(memberIn(table))) };
}

const members = new Map<string, (rule: RuleWords) => string>();

/** The same text for the same rule of a table: of a thousand interfaces only a new one's is made. */
function memberIn(table: string): (rule: RuleWords) => string {
  const known =
    members.get(table) ??
    oncePer(({ match, target }: RuleWords) => `${match[1]} : goto ${chainName(table, target[1] ?? "")}`);
  members.set(table, known);
  return known;
}
