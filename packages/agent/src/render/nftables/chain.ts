import type { Rule as RuleWords, Chain as Words } from "@margay/iptables";
import type { Family } from "@margay/net";
import { type Base, type Chain, type Item, itemKey, type NftMap, type Rule } from "@margay/nftables";
import { oncePer } from "@margay/reconcile";
import { chainName, chainNameOf, portSetName, setName } from "./names.ts";
import { portSet } from "./sets.ts";
import { translateRule } from "./words.ts";

export interface ChainContext {
  readonly family: Family;
  /** Names of the renderer's sets that hold networks. */
  readonly withNetworks: ReadonlySet<string>;
}

/** A chain, and what it needs that is its own: maps, and sets of ports. By key. */
export type Translated = ReadonlyMap<string, Item>;

interface Kept {
  readonly items: Translated;
  /** The renderer's sets that it names, and how many of them held networks. */
  readonly sets: ReadonlySet<string>;
  readonly withNetworks: string;
  /** Those that it was asked with the last time. */
  asked: ReadonlySet<string>;
}

const kept = new WeakMap<Words, Partial<Record<Family, Kept>>>();

/** The same objects for the same chain, unless a set of its changed its kind. `key` is the renderer's. */
export function translateChain(key: string, words: Words, context: ChainContext): Translated {
  const all = kept.get(words) ?? {};
  const known = all[context.family];
  if (known?.asked === context.withNetworks) return known.items;
  if (known && kindsOf(known.sets, context) === known.withNetworks) {
    known.asked = context.withNetworks;
    return known.items;
  }
  const sets = new Set<string>();
  const items = translateAnew({ key, rules: words.rules, base: undefined }, context, sets);
  kept.set(words, {
    ...all,
    [context.family]: { items, sets, withNetworks: kindsOf(sets, context), asked: context.withNetworks },
  });
  return items;
}

const kindsOf = (sets: ReadonlySet<string>, { withNetworks }: ChainContext): string =>
  [...sets].map((set) => (withNetworks.has(set) ? "1" : "0")).join("");

export interface Place {
  readonly key: string;
  readonly rules: readonly RuleWords[];
  readonly base: Base | undefined;
}

/** `sets` collects the names of the renderer's sets. */
export function translateAnew(
  { key, rules: all, base }: Place,
  { family, withNetworks }: ChainContext,
  sets: Set<string>,
): Translated {
  const [table = ""] = key.split("/");
  const name = chainNameOf(key);
  const items = new Map<string, Item>();
  const names = {
    setName: (set: string) => {
      sets.add(set);
      return setName(set, withNetworks.has(set));
    },
    portSet: (list: string) => {
      items.set(itemKey(family, "set", portSetName(list)), portSet(list, family));
      return portSetName(list);
    },
  };
  const rules: Rule[] = [];
  for (const run of runs(all)) {
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
