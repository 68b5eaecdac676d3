import { differing, type Plan, type Same } from "./target.ts";

/**
 * A map in parts, for desired state of which little changes at a time: a part that is the same object as the last time is
 * not looked into. Two parts may hold the same key only with the same value.
 */
export class Parts<V> implements ReadonlyMap<string, V> {
  /** By what they belong to. */
  readonly parts: ReadonlyMap<string, ReadonlyMap<string, V>>;

  constructor(parts: ReadonlyMap<string, ReadonlyMap<string, V>>) {
    this.parts = parts;
  }

  /** Counts a key in two parts twice. */
  get size(): number {
    return [...this.parts.values()].reduce((sum, part) => sum + part.size, 0);
  }

  get(key: string): V | undefined {
    for (const part of this.parts.values()) if (part.has(key)) return part.get(key);
    return undefined;
  }

  has(key: string): boolean {
    for (const part of this.parts.values()) if (part.has(key)) return true;
    return false;
  }

  *entries(): MapIterator<[string, V]> {
    for (const part of this.parts.values()) yield* part.entries();
  }

  *keys(): MapIterator<string> {
    for (const part of this.parts.values()) yield* part.keys();
  }

  *values(): MapIterator<V> {
    for (const part of this.parts.values()) yield* part.values();
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }

  forEach(visit: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this) visit(value, key, this);
  }
}

/** Its parts; any other map is one part. */
export const partsOf = <V>(map: ReadonlyMap<string, V>): ReadonlyMap<string, ReadonlyMap<string, V>> =>
  map instanceof Parts ? map.parts : new Map([["all", map]]);

/** What `make` made of the same object the last time. */
export function oncePer<K extends object, V>(make: (from: K) => V): (from: K) => V {
  const kept = new WeakMap<K, { readonly made: V }>();
  return (from) => {
    const known = kept.get(from);
    if (known) return known.made;
    const made = make(from);
    kept.set(from, { made });
    return made;
  };
}

/** Keys that came, went, or have another value (pure); parts that are the same objects are not looked into. */
export function changedKeys<V>(before: ReadonlyMap<string, V>, now: ReadonlyMap<string, V>): Set<string> {
  const changed = new Set<string>();
  if (before === now) return changed;
  const [olds, news] = [partsOf(before), partsOf(now)];
  const compare = (a: ReadonlyMap<string, V> | undefined, b: ReadonlyMap<string, V> | undefined) => {
    if (a === b) return;
    for (const key of a?.keys() ?? []) if (a?.get(key) !== b?.get(key)) changed.add(key);
    for (const key of b?.keys() ?? []) if (!a?.has(key)) changed.add(key);
  };
  for (const [id, part] of news) compare(olds.get(id), part);
  for (const [id, part] of olds) if (!news.has(id)) compare(part, undefined);
  for (const key of changed) if (before.get(key) === now.get(key)) changed.delete(key); // moved to another part
  return changed;
}

/** What is there, and the desired state that it was last made to match. */
export interface Held<V> {
  readonly actual: ReadonlyMap<string, V>;
  readonly matches: Parts<V>;
}

/** As `plan`, but looks only into parts that changed since `matches` (pure). */
export function planParts<V>({ actual, matches }: Held<V>, wanted: Parts<V>, same: Same<V>): Plan<V> {
  const put = new Map<string, V>();
  const left = new Set<string>();
  let found = 0;
  for (const [id, part] of wanted.parts) {
    const before = matches.parts.get(id);
    if (before) found++;
    if (before === part) continue;
    for (const [key, value] of differing(actual, part, same)) put.set(key, value);
    for (const key of before?.keys() ?? []) if (!part.has(key)) left.add(key);
  }
  if (found < matches.parts.size)
    for (const [id, part] of matches.parts)
      if (!wanted.parts.has(id)) for (const key of part.keys()) left.add(key);
  return { put, remove: [...left].filter((key) => !wanted.has(key)) };
}
