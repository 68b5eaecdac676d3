import { evaluate, type Labels, type Restriction, requiredLabel, type Selector } from "@margay/api";

/** Told of every pair that begins or ends to match. */
export interface PairListener {
  matched(selector: string, item: string): void;
  unmatched(selector: string, item: string): void;
}

interface Item {
  readonly labels: Labels;
  readonly selectors: Set<string>;
}

interface Entry {
  readonly selector: Selector;
  readonly items: Set<string>;
  /** Where the selector is filed: it can match only items that bear one of these. */
  readonly filedUnder: readonly string[];
}

/**
 * Selectors x labelled items, kept up to date pair by pair: the one product that is too big to compute again
 * (architecture.md, "Where recompute-everything is fine"). A selector is filed under one label it requires, an item
 * under each label it bears, so a change asks only those that could match:
 *
 *     selector  app == 'db' && ns == 'a'   filed under  "ns=a"      (one of the two, whichever holds fewer selectors)
 *     item      {app: db, ns: a}           asks         "app", "app=db", "ns", "ns=a" and ""
 */
export class SelectorIndex {
  readonly #listener: PairListener;
  readonly #items = new Map<string, Item>();
  readonly #selectors = new Map<string, Entry>();
  readonly #itemsByLabel = new Map<string, Set<string>>();
  readonly #selectorsByLabel = new Map<string, Set<string>>();

  constructor(listener: PairListener) {
    this.#listener = listener;
  }

  /** Adds an item or gives it new labels. */
  setItem(id: string, labels: Labels): void {
    const old = this.#items.get(id);
    if (old && sameLabels(old.labels, labels)) return;
    const selectors = old?.selectors ?? new Set<string>();
    this.#items.set(id, { labels, selectors });
    if (old) this.#unfile(id, old.labels);
    for (const key of keysOf(labels)) file(this.#itemsByLabel, key, id);
    for (const selector of [...selectors]) this.#compare(selector, id);
    for (const key of ["", ...keysOf(labels)])
      for (const selector of this.#selectorsByLabel.get(key) ?? []) this.#compare(selector, id);
  }

  deleteItem(id: string): void {
    const item = this.#items.get(id);
    if (!item) return;
    this.#items.delete(id);
    this.#unfile(id, item.labels);
    for (const selector of item.selectors) this.#unpair(selector, id);
  }

  /** Adds a selector. One with the same id must have been deleted before. */
  addSelector(id: string, selector: Selector): void {
    const filedUnder = this.#place(selector);
    this.#selectors.set(id, { selector, items: new Set(), filedUnder });
    for (const key of filedUnder) file(this.#selectorsByLabel, key, id);
    for (const item of this.#candidates(selector)) this.#compare(id, item);
  }

  deleteSelector(id: string): void {
    const entry = this.#selectors.get(id);
    if (!entry) return;
    for (const key of entry.filedUnder) unfile(this.#selectorsByLabel, key, id);
    for (const item of [...entry.items]) {
      this.#items.get(item)?.selectors.delete(id);
      this.#unpair(id, item);
    }
    this.#selectors.delete(id);
  }

  /** Ids of the items that `selector` matches now. */
  itemsOf(selector: string): ReadonlySet<string> {
    return this.#selectors.get(selector)?.items ?? NONE;
  }

  /** Ids of the selectors that match `item` now. */
  selectorsOf(item: string): ReadonlySet<string> {
    return this.#items.get(item)?.selectors ?? NONE;
  }

  #compare(selectorId: string, itemId: string): void {
    const entry = this.#selectors.get(selectorId);
    const item = this.#items.get(itemId);
    if (!entry || !item) return;
    const isMatch = evaluate(entry.selector, item.labels);
    if (isMatch === entry.items.has(itemId)) return;
    if (isMatch) {
      entry.items.add(itemId);
      item.selectors.add(selectorId);
      this.#listener.matched(selectorId, itemId);
    } else {
      item.selectors.delete(selectorId);
      this.#unpair(selectorId, itemId);
    }
  }

  #unpair(selector: string, item: string): void {
    this.#selectors.get(selector)?.items.delete(item);
    this.#listener.unmatched(selector, item);
  }

  #unfile(id: string, labels: Labels): void {
    for (const key of keysOf(labels)) unfile(this.#itemsByLabel, key, id);
  }

  /** The labels to file a selector under: those of the requirement that fewest selectors share so far. */
  #place(selector: Selector): readonly string[] {
    const options = requirements(selector).map(keysFor);
    const load = (keys: readonly string[]) => sum(keys, (key) => this.#selectorsByLabel.get(key)?.size ?? 0);
    return least(options, load) ?? [""];
  }

  /** The items that could match: those that meet the requirement which fewest meet. */
  #candidates(selector: Selector): Iterable<string> {
    const options = requirements(selector).map(keysFor);
    const size = (keys: readonly string[]) => sum(keys, (key) => this.#itemsByLabel.get(key)?.size ?? 0);
    const keys = least(options, size);
    return keys ? keys.flatMap((key) => [...(this.#itemsByLabel.get(key) ?? [])]) : this.#items.keys();
  }
}

const NONE: ReadonlySet<string> = new Set();

/** Each label that everything the selector matches must bear. */
function requirements(selector: Selector): readonly Restriction[] {
  const parts = selector.kind === "and" ? selector.operands : [selector];
  return parts.map(requiredLabel).filter((part) => part !== undefined);
}

/** A label's name cannot hold "=", so a name and a name with its value never look alike. */
const keysFor = ({ label, values }: Restriction): readonly string[] =>
  values ? values.map((value) => `${label}=${value}`) : [label];

const keysOf = (labels: Labels): string[] =>
  Object.entries(labels).flatMap(([label, value]) => [label, `${label}=${value}`]);

const sum = (keys: readonly string[], count: (key: string) => number): number =>
  keys.reduce((total, key) => total + count(key), 0);

function least<T>(options: readonly T[], cost: (option: T) => number): T | undefined {
  let best: { option: T; cost: number } | undefined;
  for (const option of options) {
    const its = cost(option);
    if (!best || its < best.cost) best = { option, cost: its };
  }
  return best?.option;
}

function file(index: Map<string, Set<string>>, key: string, id: string): void {
  const ids = index.get(key);
  if (ids) ids.add(id);
  else index.set(key, new Set([id]));
}

function unfile(index: Map<string, Set<string>>, key: string, id: string): void {
  const ids = index.get(key);
  ids?.delete(id);
  if (ids?.size === 0) index.delete(key);
}

function sameLabels(a: Labels, b: Labels): boolean {
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  );
}
