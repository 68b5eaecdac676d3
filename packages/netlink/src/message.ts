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

export const control = { error: 2, done: 3, overrun: 4 } as const;

/** What is asked, before it has a sequence number. `words` are for errors. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly words: string;
  readonly body: Encoder;
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

/** Attributes by type, from `at` to the view's end; of equal types the last wins. Throws MalformedError. */
export function attributes(view: DataView, at: number): Map<number, DataView> {
  const found = new Map<number, DataView>();
  while (view.byteLength - at >= 4) {
    const length = view.getUint16(at, true);
    const left = view.byteLength - at;
    if (length < 4 || length > left) throw new MalformedError("attribute", length, left);
    found.set(view.getUint16(at + 2, true) & 0x3fff, window(view, at + 4, length - 4)); // without NLA_F_NESTED
    at += align(length);
  }
  return found;
}

/** The 32-bit number of an attribute's value; undefined when absent or of another size. */
export const u32 = (value: DataView | undefined): number | undefined =>
  value?.byteLength === 4 ? value.getUint32(0, true) : undefined;

/** Text up to the first NUL. */
export function text(value: DataView): string {
  const bytes = bytesOf(value);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

export const bytesOf = (view: DataView): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** A growing little-endian buffer that knows attributes. */
export class Encoder {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 128) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
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
  /** A structure behind its own u16 length (rtnexthop), aligned. */
  sized16(body: (e: Encoder) => void): this {
    const at = this.#room(2);
    body(this);
    this.#view.setUint16(at, this.#at - at, true);
    this.#room(align(this.#at) - this.#at);
    return this;
  }

  /** Appends `request` as one message. */
  message(request: Request, sequence: number, extraFlags: number): this {
    this.u32(16 + request.body.length)
      .u16(request.type)
      .u16(flags.request | request.flags | extraFlags)
      .u32(sequence)
      .u32(0)
      .bytes(request.body.view());
    this.#room(align(this.#at) - this.#at);
    return this;
  }

  /** What was written; a view, good until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}
