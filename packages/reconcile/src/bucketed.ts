import { Parts } from "./parts.ts";

/** With ten thousand keys a change copies some forty. */
const BUCKETS = 256;
const IDS: readonly string[] = Array.from({ length: BUCKETS }, (_, n) => String(n));

/**
 * A map that is never changed, in parts by a hash of the key: an edited copy shares those parts in which nothing was edited.
 * So a copy, and a comparison with it, costs the same however many keys there are. In no particular order.
 */
export class Bucketed<V> extends Parts<V> {
  readonly #size: number;

  private constructor(parts: ReadonlyMap<string, ReadonlyMap<string, V>>, size: number) {
    super(parts);
    this.#size = size;
  }

  static empty<V>(): Bucketed<V> {
    return new Bucketed<V>(new Map(), 0);
  }

  override get size(): number {
    return this.#size;
  }

  override get(key: string): V | undefined {
    return this.parts.get(bucketOf(key))?.get(key);
  }

  override has(key: string): boolean {
    return this.parts.get(bucketOf(key))?.has(key) ?? false;
  }

  /** With these values; undefined: without the key. The same object if that is no difference. */
  edited(edits: Iterable<readonly [string, V | undefined]>): Bucketed<V> {
    const fresh = new Map<string, Map<string, V>>();
    let size = this.#size;
    for (const [key, value] of edits) {
      const id = bucketOf(key);
      const now = fresh.get(id) ?? this.parts.get(id);
      const before = now?.get(key);
      if (before === value) continue;
      const part = fresh.get(id) ?? new Map(now);
      fresh.set(id, part);
      if (value === undefined) part.delete(key);
      else part.set(key, value);
      size += Number(value !== undefined) - Number(before !== undefined);
    }
    if (fresh.size === 0) return this;
    const parts = new Map(this.parts);
    for (const [id, part] of fresh)
      if (part.size > 0) parts.set(id, part);
      else parts.delete(id);
    return new Bucketed(parts, size);
  }
}

/** FNV-1a, of the low bits of its characters. */
export function bucketOf(key: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return IDS[(hash ^ (hash >>> 16)) & (BUCKETS - 1)] ?? "0"; // masked to the length of IDS
}
