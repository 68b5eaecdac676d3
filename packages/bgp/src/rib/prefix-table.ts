import { type Family, type Prefix, width } from "@margay/net";
import { type Column, freed } from "../wire/byte-table.ts";
import { leadOf, type Nlri, u32At } from "../wire/nlri.ts";

/** The longest prefix in NLRI, its length included. */
export const longestOnWire = { 4: 5, 6: 17 } as const;

/** Numbered things that have a form in NLRI. */
export interface NlriSource {
  readonly family: Family;
  /** Bytes of the longest one. */
  readonly longest: number;
  /** Writes one in wire form; answers where the next one goes. */
  write(number: number, out: Uint8Array, start: number): number;
}

/**
 * Gives each distinct prefix of one family a small dense number, so that everything about prefixes is an array
 * indexed by it. Open addressing over packed words: 4 or 16 bytes of address, 1 of length, 4 or 8 of hash slots.
 */
export class PrefixTable implements NlriSource {
  readonly family: Family;
  readonly longest: number;
  readonly #stride: 1 | 4;
  #words: Uint32Array;
  #lengths: Uint8Array;
  /**
   * At the hash of a prefix id + 1, or 0; at most half full. Above the bits that ids need stand those of the hash that do not say
   * where: other prefixes on the way are told apart without a look at them, in memory that no cache holds.
   */
  #slots = new Int32Array(1024);
  #count = 0;
  /** The prefix being looked up. */
  readonly #key = new Uint32Array(4);
  #keyLength = 0;
  #keyHash = 0;
  /** The id found last: whoever tells the same table, or takes it back, often does so in the same order. */
  #last = -1;

  constructor(family: Family) {
    this.family = family;
    this.longest = longestOnWire[family];
    this.#stride = family === 4 ? 1 : 4;
    this.#words = new Uint32Array(512 * this.#stride);
    this.#lengths = new Uint8Array(512);
  }

  /** Ids are 0 to `size - 1`. */
  get size(): number {
    return this.#count;
  }

  /** Calls `each` with the id of every prefix of a checked run, new ids for new prefixes; path id 0 where there are none. */
  eachId(nlri: Nlri, each: (id: number, pathId: number) => void): void {
    const { bytes } = nlri;
    const lead = leadOf(nlri);
    for (let at = 0; at < bytes.length; ) {
      const pathId = lead === 0 ? 0 : u32At(bytes, at);
      at = this.#stride === 1 ? this.#load4(bytes, at + lead) : this.#load(bytes, at + lead);
      each(this.#findOrAdd(), pathId);
    }
  }

  /** The prefix's id, new if need be. */
  add(prefix: Prefix): number {
    this.#loadPrefix(prefix);
    return this.#findOrAdd();
  }

  /** The prefix's id, if it has one. */
  find(prefix: Prefix): number | undefined {
    this.#loadPrefix(prefix);
    const slot = this.#slots[this.#slotOfKey()]!; // in range: masked
    return slot === 0 ? undefined : this.#idIn(slot);
  }

  prefix(id: number): Prefix {
    if (id < 0 || id >= this.#count) throw new RangeError(`no prefix ${id}`);
    let bits = 0n;
    for (let i = 0; i < this.#stride; i++) bits = (bits << 32n) | BigInt(this.#words[id * this.#stride + i]!);
    return { family: this.family, bits, length: this.#lengths[id]! };
  }

  /** Writes one prefix in wire form; answers where the next one goes. */
  write(id: number, out: Uint8Array, start: number): number {
    const length = this.#lengths[id]!; // ids come from us
    const size = (length + 7) >> 3;
    let at = start;
    out[at++] = length;
    if (this.#stride === 1) {
      const word = this.#words[id]!;
      out[at] = word >>> 24; // room for the longest: what a shorter one does not need is written over
      out[at + 1] = word >>> 16;
      out[at + 2] = word >>> 8;
      out[at + 3] = word;
      return at + size;
    }
    for (let i = 0; i < size; i++)
      out[at++] = this.#words[id * this.#stride + (i >> 2)]! >>> (24 - 8 * (i & 3));
    return at;
  }

  /** The wire form of some prefixes. */
  pack(ids: readonly number[]): Nlri {
    const out = new Uint8Array(ids.length * (1 + 4 * this.#stride));
    let at = 0;
    for (const id of ids) at = this.write(id, out, at);
    return { family: this.family, bytes: out.slice(0, at) };
  }

  /** `#load` for IPv4. */
  #load4(bytes: Uint8Array, at: number): number {
    const length = bytes[at]!; // checked run, and what lies behind it is masked off
    const word =
      (bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | (bytes[at + 4]! << 0);
    this.#key[0] = length === 0 ? 0 : word & (-1 << (32 - length));
    this.#keyLength = length;
    return at + 1 + ((length + 7) >> 3);
  }

  /** Loads the wire prefix at `at` as the key, host bits cleared; returns where the next one starts. */
  #load(bytes: Uint8Array, at: number): number {
    const length = bytes[at]!; // checked run
    const size = (length + 7) >> 3;
    this.#key.fill(0);
    for (let i = 0; i < size; i++) this.#key[i >> 2]! |= bytes[at + 1 + i]! << (24 - 8 * (i & 3));
    if (length & 31) this.#key[length >> 5]! &= -1 << (32 - (length & 31));
    this.#keyLength = length;
    return at + 1 + size;
  }

  #loadPrefix(p: Prefix): void {
    if (p.family !== this.family)
      throw new RangeError(`family ${p.family} in a table of family ${this.family}`);
    for (let i = 0; i < this.#stride; i++)
      this.#key[i] = Number((p.bits >> BigInt(width(p.family) - 32 * (i + 1))) & 0xffffffffn);
    this.#keyLength = p.length;
  }

  #findOrAdd(): number {
    const next = this.#last + 1;
    this.#last = next < this.#count && this.#isKey(next) ? next : this.#lookUpOrAdd();
    return this.#last;
  }

  #lookUpOrAdd(): number {
    const at = this.#slotOfKey();
    const slot = this.#slots[at]!; // in range: masked
    if (slot !== 0) return this.#idIn(slot);
    const id = this.#count++;
    if (id === this.#lengths.length) this.#growEntries();
    for (let i = 0; i < this.#stride; i++) this.#words[id * this.#stride + i] = this.#key[i]!;
    this.#lengths[id] = this.#keyLength;
    this.#slots[at] = (this.#keyHash & ~(this.#slots.length - 1)) | (id + 1);
    if (this.#count * 2 > this.#slots.length) this.#growSlots();
    return id;
  }

  /** Linear probing: the slot that holds the key, or the free one where it belongs. */
  #slotOfKey(): number {
    const mask = this.#slots.length - 1;
    const h = hash(this.#key, 0, this.#stride, this.#keyLength);
    let at = h & mask;
    for (let slot = this.#slots[at]!; slot !== 0; slot = this.#slots[at]!) {
      if (((slot ^ h) & ~mask) === 0 && this.#isKey((slot & mask) - 1)) break;
      at = (at + 1) & mask;
    }
    this.#keyHash = h;
    return at;
  }

  #idIn(slot: number): number {
    return (slot & (this.#slots.length - 1)) - 1;
  }

  #isKey(id: number): boolean {
    for (let i = 0; i < this.#stride; i++)
      if (this.#words[id * this.#stride + i] !== this.#key[i]) return false;
    return this.#lengths[id] === this.#keyLength; // last: it seldom tells prefixes apart, and is in no cache either
  }

  #growEntries(): void {
    this.#lengths = grown(this.#lengths, (n) => new Uint8Array(n));
    this.#words = grown(this.#words, (n) => new Uint32Array(n));
  }

  #growSlots(): void {
    const slots = new Int32Array(this.#slots.length * (this.#slots.length < doubles ? 4 : 2));
    const mask = slots.length - 1;
    for (let id = 0; id < this.#count; id++) {
      const h = hash(this.#words, id * this.#stride, this.#stride, this.#lengths[id]!);
      let at = h & mask;
      while (slots[at] !== 0) at = (at + 1) & mask;
      slots[at] = (h & ~mask) | (id + 1);
    }
    freed(this.#slots);
    this.#slots = slots;
  }
}

/** Multiplicative mixing (Knuth's constant, then murmur3's finish): real tables are full of runs. */
function hash(words: Uint32Array, from: number, stride: number, length: number): number {
  let h = Math.imul(length + 1, 0x9e3779b1);
  for (let i = from; i < from + stride; i++) h = Math.imul(h ^ words[i]!, 0x85ebca6b) ^ (h >>> 15);
  h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
  return (h ^ (h >>> 13)) >>> 0;
}

/** So many entries, and more, double; fewer become four times as many: what is copied less often costs less. */
const doubles = 1 << 20;

/** More room; what is not used of it is not resident. The old column is no more. */
export function grown<T extends Column & { set(a: T): void }>(old: T, make: (n: number) => T): T {
  const larger = make(Math.max(64, old.length * (old.length < doubles ? 4 : 2)));
  larger.set(old);
  freed(old);
  return larger;
}
