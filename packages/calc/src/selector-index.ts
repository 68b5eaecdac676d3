import { evaluate, type Labels, type Restriction, requiredLabel, type Selector } from "@margay/api";
import { LabelMap } from "./label-map.ts";

/** Told of every pair that begins or ends to match. */
export interface PairListener {
  matched(selector: string, item: string): void;
  unmatched(selector: string, item: string): void;
}

interface Item {
  readonly labels: Labels;
  /** Absent: none, as of most items. */
  selectors: Set<string> | undefined;
}

interface Entry {
  readonly selector: Selector;
  readonly items: Set<string>;
  /** Where the selector is filed: only items that meet this can match. Absent: any could. */
  readonly filedUnder: Restriction | undefined;
}

/** Selectors that need a label, with any value or with a certain one. */
interface Filed {
  readonly withAny: Set<string>;
  readonly byValue: Map<string, Set<string>>;
}

/**
 * Selectors x labelled items, kept up to date pair by pair: the one product that is too big to compute again
 * (architecture.md, "Where recompute-everything is fine"). A selector is filed under one label it requires, an item
 * under each label it bears, so a change asks only those that could match:
 *
 *     selector  app == 'db' && ns == 'a'   filed under  ns=a        (one of the two, whichever holds fewer selectors)
 *     item      {app: db, ns: a}           asks         what is filed under app, app=db, ns, ns=a, and under nothing
 */
export class SelectorIndex {
  readonly #listener: PairListener;
  readonly #items = new Map<string, Item>();
  readonly #selectors = new Map<string, Entry>();
  readonly #itemsByLabel = new LabelMap();
  readonly #filed = new Map<string, Filed>();
  readonly #unfiled = new Set<string>();

  constructor(listener: PairListener) {
    this.#listener = listener;
  }

  /** Adds an item or gives it new labels. */
  setItem(id: string, labels: Labels): void {
    const old = this.#items.get(id);
    if (old && sameLabels(old.labels, labels)) return;
    const selectors = old?.selectors;
    this.#items.set(id, { labels, selectors });
    if (old) this.#itemsByLabel.remove(id, old.labels);
    this.#itemsByLabel.add(id, labels);
    for (const selector of [...(selectors ?? NONE)]) this.#compare(selector, id);
    for (const selector of this.#unfiled) this.#compare(selector, id);
    for (const label in labels) {
      const filed = this.#filed.get(label);
      for (const selector of filed?.withAny ?? NONE) this.#compare(selector, id);
      for (const selector of filed?.byValue.get(labels[label] ?? "") ?? NONE) this.#compare(selector, id);
    }
  }

  deleteItem(id: string): void {
    const item = this.#items.get(id);
    if (!item) return;
    this.#items.delete(id);
    this.#itemsByLabel.remove(id, item.labels);
    for (const selector of item.selectors ?? NONE) this.#unpair(selector, id);
  }

  /** Adds a selector. One with the same id must have been deleted before. */
  addSelector(id: string, selector: Selector): void {
    const filedUnder = least(requirements(selector), (option) => this.#load(option));
    this.#selectors.set(id, { selector, items: new Set(), filedUnder });
    for (const place of this.#places(filedUnder)) place.add(id);
    for (const item of this.#candidates(selector)) this.#compare(id, item);
  }

  deleteSelector(id: string): void {
    const entry = this.#selectors.get(id);
    if (!entry) return;
    for (const place of this.#places(entry.filedUnder)) place.delete(id);
    this.#prune(entry.filedUnder);
    for (const item of [...entry.items]) {
      this.#items.get(item)?.selectors?.delete(id);
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
      item.selectors ??= new Set();
      item.selectors.add(selectorId);
      this.#listener.matched(selectorId, itemId);
    } else {
      item.selectors?.delete(selectorId);
      this.#unpair(selectorId, itemId);
    }
  }

  #unpair(selector: string, item: string): void {
    this.#selectors.get(selector)?.items.delete(item);
    this.#listener.unmatched(selector, item);
  }

  /** The sets that hold the ids of selectors filed under a restriction. */
  #places(under: Restriction | undefined): readonly Set<string>[] {
    if (!under) return [this.#unfiled];
    const filed = this.#filed.get(under.label) ?? { withAny: new Set(), byValue: new Map() };
    this.#filed.set(under.label, filed);
    if (!under.values) return [filed.withAny];
    for (const value of under.values) if (!filed.byValue.has(value)) filed.byValue.set(value, new Set());
    return under.values.map((value) => filed.byValue.get(value)!); // set the line before
  }

  /** Forgets places that hold nothing, so that selectors that come and go leave nothing behind. */
  #prune(under: Restriction | undefined): void {
    const filed = under && this.#filed.get(under.label);
    if (!filed) return;
    for (const value of under.values ?? [])
      if (filed.byValue.get(value)?.size === 0) filed.byValue.delete(value);
    if (filed.withAny.size === 0 && filed.byValue.size === 0) this.#filed.delete(under.label);
  }

  /** How many selectors are filed there already. */
  #load({ label, values }: Restriction): number {
    const filed = this.#filed.get(label);
    if (!values) return filed?.withAny.size ?? 0;
    return values.reduce((sum, value) => sum + (filed?.byValue.get(value)?.size ?? 0), 0);
  }

  /** The items that could match: those that meet the requirement which fewest meet. */
  #candidates(selector: Selector): Iterable<string> {
    const narrowest = least(requirements(selector), (option) => this.#itemsByLabel.count(option));
    return narrowest ? this.#itemsByLabel.of(narrowest) : this.#items.keys();
  }
}

const NONE: ReadonlySet<string> = new Set();

/** Each label that everything the selector matches must bear. */
function requirements(selector: Selector): readonly Restriction[] {
  const parts = selector.kind === "and" ? selector.operands : [selector];
  return parts.map(requiredLabel).filter((part) => part !== undefined);
}

function least<T>(options: readonly T[], cost: (option: T) => number): T | undefined {
  let best: { option: T; cost: number } | undefined;
  for (const option of options) {
    const its = cost(option);
    if (!best || its < best.cost) best = { option, cost: its };
  }
  return best?.option;
}

function sameLabels(a: Labels, b: Labels): boolean {
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  );
}
