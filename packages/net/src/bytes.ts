import { type Address, addressFromBytes, addressToBytes, type Family } from "./address.ts";

/** A read past the end of the reader's window. */
export class ShortInput extends Error {
  readonly code = "short-input";
  constructor(wanted: number, left: number) {
    super(`${wanted} bytes wanted, ${left} left`);
  }
}

/** A cursor over a window of bytes, big-endian (network order). Every read past the window throws ShortInput. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }
  get at(): number {
    return this.#at;
  }

  #take(n: number): number {
    if (n > this.left) throw new ShortInput(n, this.left);
    const at = this.#at;
    this.#at += n;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!; // taken: in range, as below
  }
  u16(): number {
    const at = this.#take(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }
  u32(): number {
    const at = this.#take(4);
    const bytes = this.#bytes;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  /** A view, not a copy, of the next `n` bytes. */
  bytes(n: number): Uint8Array {
    const at = this.#take(n);
    return this.#bytes.subarray(at, at + n);
  }
  /** All that is left. */
  rest(): Uint8Array {
    return this.bytes(this.left);
  }
  /** A reader bounded to the next `n` bytes. */
  window(n: number): Reader {
    return new Reader(this.bytes(n));
  }
  address(family: Family): Address {
    return addressFromBytes(this.bytes(family === 4 ? 4 : 16));
  }
}

/** A growing big-endian byte buffer. */
export class Writer {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#at;
  }

  #room(n: number): number {
    if (this.#at + n > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + n));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    const at = this.#at;
    this.#at += n;
    return at;
  }

  u8(value: number): this {
    const at = this.#room(1);
    this.#view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.#room(2);
    this.#view.setUint16(at, value);
    return this;
  }
  u32(value: number): this {
    const at = this.#room(4);
    this.#view.setUint32(at, value);
    return this;
  }
  u64(value: bigint): this {
    const at = this.#room(8);
    this.#view.setBigUint64(at, value);
    return this;
  }
  bytes(value: Uint8Array): this {
    const at = this.#room(value.length);
    this.#bytes.set(value, at);
    return this;
  }
  address(a: Address): this {
    return this.bytes(addressToBytes(a));
  }
  /** Writes `body` behind its own length in one byte; RangeError above 255. */
  sized8(body: (w: Writer) => void): this {
    return this.#sized(1, body);
  }
  /** Writes `body` behind its own length in two bytes; RangeError above 65,535. */
  sized16(body: (w: Writer) => void): this {
    return this.#sized(2, body);
  }
  #sized(size: 1 | 2, body: (w: Writer) => void): this {
    const at = this.#room(size);
    body(this);
    const length = this.#at - at - size;
    if (length >= 1 << (8 * size)) throw new RangeError(`${length} bytes do not fit a ${size}-byte length`);
    if (size === 1) this.#view.setUint8(at, length);
    else this.#view.setUint16(at, length);
    return this;
  }
  /** Overwrites two bytes already written, at `at`. */
  patch16(at: number, value: number): this {
    this.#view.setUint16(at, value);
    return this;
  }
  /** Empties it for other contents; they overwrite what `view` gave. */
  reset(): this {
    this.#at = 0;
    return this;
  }
  /** What was written, not copied. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
  /** A copy of what was written. */
  done(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }
}
