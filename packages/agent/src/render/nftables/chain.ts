import type { Rule as RuleWords, Chain as Words } from "@margay/iptables";
import type { Family } from "@margay/net";
import {
  type Base,
  type Chain,
  type Field,
  type Item,
  itemKey,
  type NftMap,
  type Rule,
} from "@margay/nftables";
import { oncePer, PartedSet } from "@margay/reconcile";
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
    kindOf: (set: string) => kinds.get(set) ?? "addresses",
    portSet: (list: string) => {
      items.set(itemKey(family, "set", portSetName(list)), portSet(list, family));
      return portSetName(list);
    },
  };
  const rules: Rule[] = [];
  for (const run of runs(all)) {
    const map = run.length > 1 ? mapOf(run, { name, table, family }) : undefined;
    if (!map)
      for (const rule of run.flatMap((one) => ways(one, kinds, sets)))
        rules.push(translateRule(rule, table, names));
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
  let run: RuleWords[] | undefined;
  for (const rule of rules) {
    const isNext = isDispatch(rule);
    if (isNext && wordOf(run?.[0]) === wordOf(rule)) run?.push(rule);
    else {
      const one = [rule];
      found.push(one);
      run = isNext ? one : undefined;
    }
  }
  return found;
}

/** Does nothing but send the packets of one interface, or of one group of them, to a chain. */
function isDispatch({ match, target, id }: RuleWords): boolean {
  const [word = "", key = "+"] = match.slice(-2);
  const isWhole = match.length === (match[0] === "-m" ? 4 : 2);
  return isWhole && word in FIELDS && target[0] === "-g" && id === undefined && !key.endsWith("+");
}

const wordOf = (rule: RuleWords | undefined): string | undefined => rule?.match.at(-2);

/** What a map is asked for, by the word that names it in iptables. */
const FIELDS: Readonly<Record<string, Field>> = {
  ...{ "-i": "iifname", "-o": "oifname", "--src-group": "iifgroup", "--dst-group": "oifgroup" },
};

interface Mapped {
  readonly run: readonly RuleWords[];
  readonly members: PartedSet;
}

/** The last map of each chain: of a thousand interfaces only those that came and went are looked at. */
const mapped = new Map<string, Mapped>();

function mapOf(
  run: readonly RuleWords[],
  { name, table, family }: { readonly name: string; readonly table: string; readonly family: Family },
): NftMap {
  const fields = [FIELDS[wordOf(run[0]) ?? ""] ?? "iifname"];
  const key = `${family} ${table}/${name} ${fields[0]}`;
  const [before, member] = [mapped.get(key), memberIn(table)];
  const { gone, came } = differences(before?.run ?? [], run);
  const members = (before?.members ?? PartedSet.empty).edited(
    new Map([
      ...gone.map((rule) => [member(rule), false] as const),
      ...came.map((rule) => [member(rule), true] as const),
    ]),
  );
  mapped.set(key, { run, members });
  return { kind: "map", family, fields, members };
}

/** The rules of one list that the other has not, between those that both begin and end with. */
function differences(before: readonly RuleWords[], now: readonly RuleWords[]) {
  const most = Math.min(before.length, now.length);
  let head = 0;
  while (head < most && before[head] === now[head]) head++;
  let tail = 0;
  while (tail < most - head && before.at(-1 - tail) === now.at(-1 - tail)) tail++;
  return { gone: before.slice(head, before.length - tail), came: now.slice(head, now.length - tail) };
}

const members = new Map<string, (rule: RuleWords) => string>();

/** The same text for the same rule of a table: of a thousand interfaces only a new one's is made. */
function memberIn(table: string): (rule: RuleWords) => string {
  const known =
    members.get(table) ??
    oncePer(({ match, target }: RuleWords) => `${match.at(-1)} : goto ${chainName(table, target[1] ?? "")}`);
  members.set(table, known);
  return known;
}
