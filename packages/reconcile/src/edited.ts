import type { Plan, Same } from "./target.ts";

/** Fewer edits than this are always remembered. */
const few = 1024;

/**
 * A desired state that is edited key by key and remembers which keys: what was made to match it once is compared in these only.
 * Made empty. More edits than there are keys are not remembered one by one.
 */
export class Edited<V> extends Map<string, V> {
  #reader: object | undefined;
  /** Since `#reader` asked last; undefined when they were too many. */
  #edits: Set<string> | undefined;

  override set(key: string, value: V): this {
    super.set(key, value);
    this.#note(key);
    return this;
  }

  override delete(key: string): boolean {
    const was = super.delete(key);
    if (was) this.#note(key);
    return was;
  }

  override clear(): void {
    super.clear();
    this.#edits = undefined;
  }

  /** The keys edited since the same reader asked last; undefined: any may have been. */
  take(reader: object): ReadonlySet<string> | undefined {
    const edits = reader === this.#reader ? this.#edits : undefined;
    this.#reader = reader;
    this.#edits = new Set();
    return edits;
  }

  #note(key: string): void {
    this.#edits?.add(key);
    if ((this.#edits?.size ?? 0) > Math.max(few, this.size)) this.#edits = undefined;
  }
}

/** As `plan`, of these keys only (pure). */
export function planKeys<V>(
  keys: Iterable<string>,
  { actual, wanted }: { readonly actual: ReadonlyMap<string, V>; readonly wanted: ReadonlyMap<string, V> },
  same: Same<V>,
): Plan<V> {
  const put = new Map<string, V>();
  const remove: string[] = [];
  for (const key of keys) {
    const value = wanted.get(key);
    const now = actual.get(key);
    if (value === undefined) {
      if (actual.has(key)) remove.push(key);
    } else if (now === undefined || (now !== value && !same(now, value))) put.set(key, value);
  }
  return { put, remove };
}
