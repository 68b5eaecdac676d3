/**
 * Numbers for distinct runs of bytes: a hash table over one arena, no strings and nothing for the garbage collector to
 * trace. A number lives while somebody retains it; then its place, and in time its bytes, are used again.
 */
export class ByteTable {
  /** Number + 1, or 0; linear probing, at most half full. */
  #slots = new Int32Array(32);
  #hashes = new Int32Array(16);
  #starts = new Uint32Array(16);
  /** Of the key, its code included; 0: the number is free. */
  #sizes = new Uint32Array(16);
  #refs = new Int32Array(16);
  readonly #free: number[] = [];
  #given = 0;
  #arena = new Uint8Array(512);
  #end = 0;
  #dead = 0;

  /** Distinct runs held. */
  get size(): number {
    return this.#given - this.#free.length;
  }

  /** The number of these bytes, or -1; `code` (below 256) tells apart contexts in which equal bytes mean different things. */
  find(code: number, bytes: Uint8Array): number {
    return this.#find(hashOf(code, bytes), code, bytes);
  }

  /** The number of these bytes, a new one if need be. It is free again when, retained at least once, it is released. */
  add(code: number, bytes: Uint8Array): number {
    const hash = hashOf(code, bytes);
    const known = this.#find(hash, code, bytes);
    if (known >= 0) return known;
    const number = this.#free.pop() ?? this.#given++;
    if (number >= this.#hashes.length) this.#grow();
    const size = bytes.length + 1;
    const before = this.#arena;
    this.#makeRoom(size);
    this.#arena[this.#end] = code;
    this.#arena.set(bytes, this.#end + 1); // they may stand in the arena of before
    if (this.#arena !== before) freed(before);
    this.#starts[number] = this.#end;
    this.#sizes[number] = size;
    this.#hashes[number] = hash;
    this.#refs[number] = 0;
    this.#end += size;
    if (this.size * 2 > this.#slots.length) this.#rehash(this.#slots.length * 4);
    else this.#place(number);
    return number;
  }

  retain(number: number): void {
    this.#refs[number]!++; // numbers come from us
  }

  /** Whether this was the last who held it. */
  release(number: number): boolean {
    if (--this.#refs[number]! > 0) return false; // numbers come from us
    this.#unplace(number);
    this.#dead += this.#sizes[number]!;
    this.#sizes[number] = 0;
    this.#free.push(number);
    return true;
  }

  code(number: number): number {
    return this.#arena[this.#starts[number]!]!; // numbers come from us
  }

  /** A view of the bytes, good until the next `add`; then it may be empty. */
  bytes(number: number): Uint8Array {
    const start = this.#starts[number]!; // numbers come from us
    return this.#arena.subarray(start + 1, start + this.#sizes[number]!);
  }

  #find(hash: number, code: number, bytes: Uint8Array): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let at = hash & mask; slots[at] !== 0; at = (at + 1) & mask) {
      const number = slots[at]! - 1; // in range: masked
      if (this.#hashes[number] === hash && this.#isKey(number, code, bytes)) return number;
    }
    return -1;
  }

  #isKey(number: number, code: number, bytes: Uint8Array): boolean {
    const arena = this.#arena;
    const start = this.#starts[number]!; // numbers come from us
    const { length } = bytes;
    if (this.#sizes[number] !== length + 1 || arena[start] !== code) return false;
    for (let i = 0; i < length; i++) if (arena[start + 1 + i] !== bytes[i]) return false;
    return true;
  }

  #place(number: number): void {
    const mask = this.#slots.length - 1;
    let at = this.#hashes[number]! & mask;
    while (this.#slots[at] !== 0) at = (at + 1) & mask;
    this.#slots[at] = number + 1;
  }

  /** Those behind the gap that a probe would no longer find move up. */
  #unplace(number: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let gap = this.#hashes[number]! & mask;
    while (slots[gap] !== number + 1) gap = (gap + 1) & mask;
    for (let at = (gap + 1) & mask; slots[at] !== 0; at = (at + 1) & mask) {
      const home = this.#hashes[slots[at]! - 1]! & mask;
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      slots[gap] = slots[at]!;
      gap = at;
    }
    slots[gap] = 0;
  }

  #rehash(size: number): void {
    freed(this.#slots);
    this.#slots = new Int32Array(size);
    for (let number = 0; number < this.#given; number++) if (this.#sizes[number] !== 0) this.#place(number);
  }

  #grow(): void {
    const room = this.#hashes.length * 4; // what is not used of it is not resident
    this.#hashes = copied(new Int32Array(room), this.#hashes);
    this.#starts = copied(new Uint32Array(room), this.#starts);
    this.#sizes = copied(new Uint32Array(room), this.#sizes);
    this.#refs = copied(new Int32Array(room), this.#refs);
  }

  /** Dead bytes go where they are many; else the arena doubles. */
  #makeRoom(size: number): void {
    if (this.#end + size <= this.#arena.length) return;
    const live = this.#end - this.#dead;
    const arena = new Uint8Array(Math.max(512, (live + size) * 2));
    if (this.#dead === 0) arena.set(this.#arena.subarray(0, this.#end));
    else this.#end = this.#moveLive(arena);
    this.#arena = arena;
    this.#dead = 0;
  }

  /** Copies the bytes of numbers that are held, one after another; answers where they end. */
  #moveLive(arena: Uint8Array): number {
    let end = 0;
    for (let number = 0; number < this.#given; number++) {
      const length = this.#sizes[number] ?? 0;
      if (length === 0) continue;
      const start = this.#starts[number]!; // below `given`
      arena.set(this.#arena.subarray(start, start + length), end);
      this.#starts[number] = end;
      end += length;
    }
    return end;
  }
}

function copied<T extends Column & { set(from: T): void }>(to: T, from: T): T {
  to.set(from);
  freed(from);
  return to;
}

/** A typed array of our own. */
export interface Column {
  readonly length: number;
  readonly buffer: ArrayBufferLike;
}

/** Gives its memory back now: tables that grow would leave as much again for a collection that is long in coming. Views of it are empty. */
export function freed({ buffer }: Column): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Four bytes a step, then mixed: attribute lists differ in few bits. */
function hashOf(code: number, bytes: Uint8Array): number {
  const { length } = bytes;
  let h = 0x811c9dc5 ^ (code << 16) ^ length;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24); // in range
    h = Math.imul(h ^ word, 0x9e3779b1);
    h ^= h >>> 15;
  }
  for (; i < length; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 13);
}
