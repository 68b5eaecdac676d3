/** Entries of the younger generation before it becomes the older one. */
const generationLimit = 131_072;

/**
 * One object per distinct run of bytes: a hash table over an arena, no strings and nothing for the garbage collector
 * to trace but the values. Two generations bound it: what was not asked for while `limit` others came is forgotten,
 * and, if it comes again, is another object that says the same.
 */
export class Interner<V extends object> {
  readonly #limit: number;
  #young = new Generation<V>();
  #old = new Generation<V>();

  constructor(limit = generationLimit) {
    this.#limit = limit;
  }

  /** The value of these bytes; `code` (below 256) tells apart contexts in which equal bytes mean different things. */
  get(code: number, bytes: Uint8Array): V | undefined {
    const hash = hashOf(code, bytes);
    const young = this.#young.get(hash, code, bytes);
    if (young) return young;
    const old = this.#old.get(hash, code, bytes);
    if (old) this.#add({ hash, code, bytes }, old);
    return old;
  }

  /** Keeps a value under a copy of `bytes`, which must not be known yet. */
  add(code: number, bytes: Uint8Array, value: V): void {
    this.#add({ hash: hashOf(code, bytes), code, bytes }, value);
  }

  /** Values held, a few of them twice. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  #add(key: Key, value: V): void {
    if (this.#young.size >= this.#limit) {
      this.#old = this.#young;
      this.#young = new Generation();
    }
    this.#young.add(key, value);
  }
}

interface Key {
  readonly hash: number;
  readonly code: number;
  readonly bytes: Uint8Array;
}

/** Linear probing; a key lies in the arena as | code 1 | bytes |. */
class Generation<V> {
  /** Index + 1 of an entry, or 0. At most half full. */
  #slots = new Int32Array(256);
  #hashes = new Int32Array(128);
  /** Where each key begins; the next one's begin is its end. */
  #starts = new Uint32Array(129);
  #arena = new Uint8Array(4096);
  readonly #values: V[] = [];

  get size(): number {
    return this.#values.length;
  }

  get(hash: number, code: number, bytes: Uint8Array): V | undefined {
    const mask = this.#slots.length - 1;
    for (let at = hash & mask; this.#slots[at] !== 0; at = (at + 1) & mask) {
      const entry = this.#slots[at]! - 1; // in range: masked
      if (this.#hashes[entry] === hash && this.#isKey(entry, code, bytes)) return this.#values[entry];
    }
    return undefined;
  }

  add({ hash, code, bytes }: Key, value: V): void {
    const entry = this.#values.length;
    if (entry === this.#hashes.length) this.#grow();
    const start = this.#starts[entry]!; // grown above
    const end = start + 1 + bytes.length;
    if (end > this.#arena.length) {
      const arena = new Uint8Array(Math.max(end, this.#arena.length * 2));
      arena.set(this.#arena);
      this.#arena = arena;
    }
    this.#arena[start] = code;
    this.#arena.set(bytes, start + 1);
    this.#starts[entry + 1] = end;
    this.#hashes[entry] = hash;
    this.#values.push(value);
    this.#place(entry, hash);
  }

  #place(entry: number, hash: number): void {
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#slots[at] = entry + 1;
  }

  #isKey(entry: number, code: number, bytes: Uint8Array): boolean {
    const arena = this.#arena;
    const start = this.#starts[entry]! + 1; // entries come from us
    if (this.#starts[entry + 1]! - start !== bytes.length || arena[start - 1] !== code) return false;
    for (let i = 0; i < bytes.length; i++) if (arena[start + i] !== bytes[i]) return false;
    return true;
  }

  #grow(): void {
    const room = this.#hashes.length * 2;
    const [hashes, starts] = [new Int32Array(room), new Uint32Array(room + 1)];
    hashes.set(this.#hashes);
    starts.set(this.#starts);
    this.#hashes = hashes;
    this.#starts = starts;
    this.#slots = new Int32Array(room * 2);
    for (let entry = 0; entry < this.#values.length; entry++) this.#place(entry, hashes[entry]!);
  }
}

/** FNV-1a, then mixed: attribute lists differ in few bits. */
function hashOf(code: number, bytes: Uint8Array): number {
  let h = 0x811c9dc5 ^ code;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}
