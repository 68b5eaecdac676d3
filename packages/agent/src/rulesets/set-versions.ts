import { isDeepStrictEqual } from "node:util";
import type { Chain, IpSet, Rule } from "@margay/iptables";
import { changedKeys, Parts, partsOf } from "@margay/reconcile";
import type { Rendered } from "../render/index.ts";

type Chains = ReadonlyMap<string, Chain>;
type Sets = ReadonlyMap<string, IpSet>;
type Names = ReadonlySet<string>;

/** Chains that decide. Others lead to them. */
const DECIDING = /^\w+\/margay-(in-|out-|gi-|go-|wi-|wo-|ri-|ro-|h)/;
/** Those in which each workload has rules of its own: one that comes has no packets yet, one that goes none any more. */
const DISPATCHING = /^filter\/margay-(from-wl|to-wl|fd-|td-)/;

/** At most 31 characters with the longest name. */
const secondName = (name: string): string => `${name}-b`;

/**
 * Rules and ipsets cannot change in one transaction. Where both do, old rules would meet new members, and allow what neither state
 * allows. So the sets that changed are made anew under a second name, which the changed rules name: those who read them
 * change over at the commit of the rules (docs/adr/0018-sets-change-with-rules.md).
 */
export class SetVersions {
  #last: Rendered | undefined;
  /** Sets that have their second name, by the first. */
  #second: Names = new Set();
  /** Those that changed their name since the last pass that succeeded; undefined right after one. */
  #renamed: Set<string> | undefined;

  /** What the kernel is to hold of the next state. */
  next(rendered: Rendered): Rendered {
    const last = this.#last;
    const isPending = this.#renamed !== undefined;
    this.#renamed ??= new Set();
    if (last) this.#follow(last, rendered, isPending);
    this.#last = rendered;
    return this.named(rendered);
  }

  #follow(last: Rendered, now: Rendered, isPending: boolean): void {
    const touched = changedKeys(last.ipsets, now.ipsets);
    const changed = [...touched].filter((name) => isOther(last.ipsets.get(name), now.ipsets.get(name)));
    if (changed.length > 0 && (isPending || decidesOtherwise(last, now))) this.#rename(changed);
    const gone = [...touched].filter((name) => this.#second.has(name) && !now.ipsets.has(name));
    if (gone.length > 0) this.#second = new Set([...this.#second].filter((name) => !gone.includes(name)));
  }

  /** All of the last state is in the kernel. */
  settled(): void {
    this.#renamed = undefined;
  }

  /** With the names that the sets have now. */
  named(rendered: Rendered): Rendered {
    const second = this.#second;
    if (second.size === 0) return rendered;
    return {
      ...rendered,
      chains4: renamedIn(rendered.chains4, second, renamedChains),
      chains6: renamedIn(rendered.chains6, second, renamedChains),
      ipsets: renamedIn(rendered.ipsets, second, renamedSets),
    };
  }

  #rename(changed: readonly string[]): void {
    const second = new Set(this.#second);
    for (const name of changed.filter((one) => !this.#renamed?.has(one))) {
      this.#renamed?.add(name);
      if (!second.delete(name)) second.add(name);
    }
    this.#second = second;
  }
}

/** The same set may be another object: those with names of their own are made anew with the chains. */
const isOther = (before: IpSet | undefined, now: IpSet | undefined): boolean =>
  before !== undefined && now !== undefined && !isDeepStrictEqual(before, now);

const decidesOtherwise = (before: Rendered, now: Rendered): boolean =>
  decides(before.chains4, now.chains4) || decides(before.chains6, now.chains6);

function decides(before: Chains, now: Chains): boolean {
  const [olds, news] = [partsOf(before), partsOf(now)];
  const changed = [...news].filter(([id, part]) => olds.get(id) !== part);
  if (changed.some(([id, part]) => decidesIn(olds.get(id), part))) return true;
  const gone = [...olds].flatMap(([id, part]) => (news.has(id) ? [] : [[part, undefined] as const]));
  const old = ownRules([...gone, ...changed.map(([id, part]) => [olds.get(id), part] as const)]);
  const own = ownRules(changed.map(([id, part]) => [part, olds.get(id)]));
  return [...own].some(([workload, rules]) => old.has(workload) && old.get(workload) !== rules);
}

const decidesIn = (old: Chains | undefined, part: Chains): boolean =>
  [...part].some(([key, chain]) => DECIDING.test(key) && differs(old?.get(key), chain));

/** What workloads' own rules say, by the match of their interface, in the chains of the first that the second has otherwise. */
function ownRules(pairs: readonly (readonly [Chains | undefined, Chains | undefined])[]) {
  const found = new Map<string, string>();
  for (const [some, other] of pairs)
    for (const [key, chain] of some ?? [])
      if (DISPATCHING.test(key) && other?.get(key) !== chain)
        for (const { match, target } of chain.rules) {
          const [word, name = "", ...more] = match;
          const workload = `${key.slice(0, DIRECTION)} ${name}`;
          if (word !== undefined)
            found.set(workload, `${found.get(workload) ?? ""}${[...more, ...target].join(" ")}\n`);
        }
  return found;
}

/** "filter/margay-f" or "filter/margay-t". */
const DIRECTION = 15;

/** A chain that was not there is called by one that is another too. */
const differs = (before: Chain | undefined, now: Chain): boolean =>
  before !== undefined && before !== now && !isDeepStrictEqual(before.rules, now.rules);

interface Made<T> {
  readonly second: Names;
  readonly made: T;
}
const madeOf = new WeakMap<object, Made<unknown>>();

/** The same object for the same names. */
function once<T extends object>(from: T, second: Names, make: () => T): T {
  const known = madeOf.get(from) as Made<T> | undefined; // made below, of the same type
  if (known?.second === second) return known.made;
  const made = make();
  madeOf.set(from, { second, made });
  return made;
}

/** Part by part, as far as they name one. */
const renamedIn = <V>(
  all: ReadonlyMap<string, V>,
  second: Names,
  rename: (part: ReadonlyMap<string, V>, second: Names) => ReadonlyMap<string, V>,
): ReadonlyMap<string, V> =>
  once(
    all,
    second,
    () =>
      new Parts(
        new Map([...partsOf(all)].map(([id, part]) => [id, once(part, second, () => rename(part, second))])),
      ),
  );

const renamedSets = (part: Sets, second: Names): Sets =>
  [...part.keys()].some((name) => second.has(name))
    ? new Map([...part].map(([name, set]) => [second.has(name) ? secondName(name) : name, set]))
    : part;

const renamedChains = (part: Chains, second: Names): Chains =>
  [...part.values()].some(({ rules }) => rules.some((rule) => names(rule, second)))
    ? new Map([...part].map(([key, { rules }]) => [key, { rules: rules.map((one) => renamed(one, second)) }]))
    : part;

const names = ({ match }: Rule, second: Names): boolean => match.some((word) => second.has(word));

const renamed = (rule: Rule, second: Names): Rule =>
  names(rule, second)
    ? { ...rule, match: rule.match.map((word) => (second.has(word) ? secondName(word) : word)) }
    : rule;
