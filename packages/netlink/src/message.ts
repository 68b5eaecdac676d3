import { type Address, addressToBytes } from "@margay/net";

/**
 * Netlink messages (man 7 netlink), in host byte order, everything aligned to 4 bytes:
 *
 *   nlmsghdr   0 length u32 | 4 type u16 | 6 flags u16 | 8 sequence u32 | 12 port u32
 *   body       a fixed struct of the family (rtmsg, ifinfomsg, ...), then attributes
 *   rtattr     0 length u16 (header included, padding not) | 2 type u16 | 4 value
 *
 * Both supported architectures (x64, arm64) are little-endian.
 */
export const flags = {
  request: 0x1,
  ack: 0x4,
  /** On an answer: the dump was cut short by a change and must be repeated. */
  dumpInterrupted: 0x10,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  append: 0x800,
  /** On an ack: the request's body was left out; attributes follow. */
  capped: 0x100,
  extended: 0x200,
} as const;

/** The protocol of all that the packet filter says and is told: conntrack, ipset, nf_tables, queues. */
export const NETLINK_NETFILTER = 12;

export const control = { error: 2, done: 3, overrun: 4 } as const;

/** What is asked, before it has a sequence number: a table of 100,000 costs no copy and no text unless refused. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  /** For errors: "add route 10.0.0.0/26 via 172.20.0.12 dev eth0". */
  readonly words: () => string;
  /** Appends the family's struct and the attributes. */
  readonly body: (e: Encoder) => void;
}

/** One received message; `body` is a view into the receive buffer. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Of a notification: the socket whose request caused it; 0 is the kernel itself. */
  readonly port: number;
  readonly body: DataView;
}

/** Bytes that are no message: a length too short, or beyond the input. */
export class MalformedError extends Error {
  readonly code = "malformed";
  constructor(what: string, length: number, left: number) {
    super(`${what} of ${length} bytes, ${left} left`);
    this.name = "MalformedError";
  }
}

const align = (n: number): number => (n + 3) & ~3;

/** The messages of one datagram. Throws MalformedError; never reads past the view. */
export function* messages(datagram: DataView): Generator<Message> {
  for (let at = 0; at < datagram.byteLength; ) {
    const left = datagram.byteLength - at;
    const length = left < 16 ? left : datagram.getUint32(at, true);
    if (length < 16 || length > left) throw new MalformedError("message", length, left);
    yield {
      type: datagram.getUint16(at + 4, true),
      flags: datagram.getUint16(at + 6, true),
      sequence: datagram.getUint32(at + 8, true),
      port: datagram.getUint32(at + 12, true),
      body: window(datagram, at + 16, length - 16),
    };
    at += align(length);
  }
}

/** A bounded view of part of a view. */
export const window = (view: DataView, at: number, length: number): DataView =>
  new DataView(view.buffer, view.byteOffset + at, length);

/**
 * Visits the attributes from `at` to the view's end: type, where the value starts, and its length. Throws
 * MalformedError.
 */
export function eachAttribute(
  view: DataView,
  start: number,
  visit: (type: number, at: number, length: number) => void,
): void {
  for (let at = start; view.byteLength - at >= 4; ) {
    const length = view.getUint16(at, true);
    const left = view.byteLength - at;
    if (length < 4 || length > left) throw new MalformedError("attribute", length, left);
    visit(view.getUint16(at + 2, true) & 0x3fff, at + 4, length - 4); // without NLA_F_NESTED
    at += align(length);
  }
}

/**
 * Attribute values by type (only of these types, when given), from `start` to the view's end; of equal types the last wins.
 * Throws MalformedError.
 */
export function attributes(view: DataView, start: number, only?: ReadonlySet<number>): Map<number, DataView> {
  const found = new Map<number, DataView>();
  eachAttribute(view, start, (type, at, length) => {
    if (only === undefined || only.has(type)) found.set(type, window(view, at, length));
  });
  return found;
}

/** The 32-bit number of an attribute's value; undefined when absent or of another size. */
export const u32 = (value: DataView | undefined): number | undefined =>
  value?.byteLength === 4 ? value.getUint32(0, true) : undefined;

const utf8 = new TextDecoder();

/** Text up to the first NUL. */
export function text(value: DataView): string {
  const bytes = bytesOf(value);
  const end = bytes.indexOf(0);
  return utf8.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** An address of 4 or 16 bytes in network order; RangeError for any other length. */
export function addressAt(view: DataView, at: number, length: number): Address {
  if (length === 4) return { family: 4, bits: BigInt(view.getUint32(at)) };
  if (length !== 16) throw new RangeError(`address of ${length} bytes`);
  return { family: 6, bits: (view.getBigUint64(at) << 64n) | view.getBigUint64(at + 8) };
}

export const addressOf = (value: DataView): Address => addressAt(value, 0, value.byteLength);

export const bytesOf = (view: DataView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Netfilter's numbers are in network order. */
export function bigEndian(n: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, n);
  return bytes;
}

/** A growing little-endian buffer that knows attributes. */
export class Encoder {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 128) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** To be written anew; what `view` gave before is overwritten. */
  clear(): this {
    this.#at = 0;
    return this;
  }

  #room(n: number): number {
    const at = this.#at;
    this.#at += n;
    if (this.#at > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#at));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  get length(): number {
    return this.#at;
  }
  u8(n: number): this {
    const at = this.#room(1);
    this.#view.setUint8(at, n);
    return this;
  }
  u16(n: number): this {
    const at = this.#room(2);
    this.#view.setUint16(at, n, true);
    return this;
  }
  u32(n: number): this {
    const at = this.#room(4);
    this.#view.setUint32(at, n, true);
    return this;
  }
  /** An IPv4 or IPv6 address or network, in network order. */
  address(a: { readonly family: 4 | 6; readonly bits: bigint }): this {
    if (a.family === 6) return this.bytes(addressToBytes(a));
    const at = this.#room(4);
    this.#view.setUint32(at, Number(a.bits));
    return this;
  }
  bytes(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** An attribute whose value `body` writes, padded; nest at will. */
  attribute(type: number, body: (e: Encoder) => void): this {
    const at = this.#room(4);
    body(this);
    this.#view.setUint16(at, this.#at - at, true);
    this.#view.setUint16(at + 2, type, true);
    this.#room(align(this.#at) - this.#at);
    return this;
  }
  attributeU32(type: number, n: number): this {
    return this.attribute(type, (e) => e.u32(n));
  }
  /** NUL-terminated. */
  attributeText(type: number, value: string): this {
    return this.attribute(type, (e) => e.bytes(new TextEncoder().encode(value)).u8(0));
  }
  attributeBytes(type: number, value: Uint8Array): this {
    return this.attribute(type, (e) => e.bytes(value));
  }
  attributeAddress(type: number, a: { readonly family: 4 | 6; readonly bits: bigint }): this {
    return this.attribute(type, (e) => e.address(a));
  }
  /** A structure behind its own u16 length (rtnexthop), aligned. */
  sized16(body: (e: Encoder) => void): this {
    const at = this.#room(2);
    body(this);
    this.#view.setUint16(at, this.#at - at, true);
    this.#room(align(this.#at) - this.#at);
    return this;
  }

  /** Appends `request` as one message and answers where it starts. */
  message(request: Request, sequence: number): number {
    const at = this.#room(16);
    request.body(this);
    this.#view.setUint32(at, this.#at - at, true);
    this.#view.setUint16(at + 4, request.type, true);
    this.#view.setUint16(at + 6, flags.request | request.flags, true);
    this.#view.setUint32(at + 8, sequence, true);
    this.#room(align(this.#at) - this.#at);
    return at;
  }
  /** Adds flags to the message that starts at `at`. */
  addFlags(at: number, more: number): this {
    this.#view.setUint16(at + 6, this.#view.getUint16(at + 6, true) | more, true);
    return this;
  }

  /** What was written; a view, good until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}
