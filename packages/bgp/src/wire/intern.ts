/**
 * One object per distinct value, by its bytes. Entries vanish when nobody else holds the value, so that the table is
 * never larger than what the RIBs use.
 */
export class Interner<V extends object> {
  readonly #entries = new Map<string, WeakRef<V>>();
  readonly #gone = new FinalizationRegistry<string>((key) => {
    if (!this.#entries.get(key)?.deref()) this.#entries.delete(key);
  });

  /** The value interned under `key`, made now if there is none. */
  get(key: string, make: () => V): V {
    const known = this.#entries.get(key)?.deref();
    if (known) return known;
    const value = make();
    this.#entries.set(key, new WeakRef(value));
    this.#gone.register(value, key);
    return value;
  }

  /** The value interned under `key`, if any. */
  peek(key: string): V | undefined {
    return this.#entries.get(key)?.deref();
  }

  get size(): number {
    return this.#entries.size;
  }
}

/** Bytes as a map key, one character each. */
export function bytesKey(bytes: Uint8Array): string {
  let key = "";
  for (let from = 0; from < bytes.length; from += 4096)
    key += String.fromCharCode(...bytes.subarray(from, from + 4096)); // bounded: the stack holds the arguments
  return key;
}
