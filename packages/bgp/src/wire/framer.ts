import { lengths, messageTypes } from "./code-points.ts";
import { BgpError } from "./error.ts";

/** One message cut from the stream: its type code and its body behind the 19-byte header. */
export interface Frame {
  readonly type: number;
  readonly body: Uint8Array;
}

const nothing = new Uint8Array();

/** How many messages there are in whole ones of our own. */
export function messagesIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; count++) at += bytes[at + 16]! * 256 + bytes[at + 17]!; // RFC 4271 §4.1: whole ones have it
  return count;
}

/**
 * Cuts a TCP byte stream into BGP messages, RFC 4271 §4.1:
 *
 *     | marker 16 x ff | length 2 | type 1 | body ... |
 *
 * Keeps at most one incomplete message. A body is a view of the pushed chunk where that holds all of it.
 */
export class Framer {
  #pending: Uint8Array = nothing;
  #max: number = lengths.max;

  /** Allows messages up to 65,535 bytes once both sides announced RFC 8654. */
  extend(): void {
    this.#max = lengths.maxExtended;
  }

  /** The complete messages in what came so far. Throws BgpError §6.1; the stream is dead after that. */
  *push(chunk: Uint8Array): Generator<Frame> {
    let at = this.#pending.length === 0 ? 0 : this.#fill(chunk);
    if (at > 0) {
      const whole = this.#pending;
      if (whole.length < this.#wanted(whole, 0)) return;
      this.#pending = nothing;
      yield frameAt(whole, 0, whole.length);
    }
    for (;;) {
      const length = this.#wanted(chunk, at);
      if (at + length > chunk.length) break;
      yield frameAt(chunk, at, length);
      at += length;
    }
    if (at < chunk.length) this.#pending = chunk.slice(at); // a copy: the caller may reuse its chunk
  }

  /** Length of the message at `at`; of its header, as long as that is not whole. */
  #wanted(bytes: Uint8Array, at: number): number {
    return bytes.length - at < lengths.header ? lengths.header : checkHeader(bytes, at, this.#max);
  }

  /** Takes from the chunk what the incomplete message lacks, and no more: chunks are larger than messages. Answers how much. */
  #fill(chunk: Uint8Array): number {
    let taken = 0;
    for (;;) {
      const lacking = this.#wanted(this.#pending, 0) - this.#pending.length;
      if (lacking === 0 || taken === chunk.length) return taken;
      const part = chunk.subarray(taken, taken + lacking);
      this.#pending = join(this.#pending, part);
      taken += part.length;
    }
  }

  /** Bytes of the incomplete message held back. */
  get pendingBytes(): number {
    return this.#pending.length;
  }
}

/** 18 < header length */
const frameAt = (bytes: Uint8Array, at: number, length: number): Frame => ({
  type: bytes[at + 18]!,
  body: bytes.subarray(at + lengths.header, at + length),
});

/** Smallest whole message by type, RFC 4271 §4.2-§4.5; RFC 2918 §3. */
const smallest: Readonly<Record<number, number>> = {
  [messageTypes.open.code]: 29,
  [messageTypes.update.code]: 23,
  [messageTypes.notification.code]: 21,
  [messageTypes.keepalive.code]: 19,
  [messageTypes["route-refresh"].code]: 23,
};

/** The message's length. Throws per RFC 4271 §6.1, in the order that the clause names. */
function checkHeader(bytes: Uint8Array, at: number, max: number): number {
  for (let i = at; i < at + 16; i++) if (bytes[i] !== 0xff) throw new BgpError("connection-not-synchronized");
  const length = bytes[at + 16]! * 256 + bytes[at + 17]!; // the caller saw 19 bytes
  const type = bytes[at + 18]!;
  const least = smallest[type];
  if (least === undefined)
    throw new BgpError("bad-message-type", { data: Uint8Array.of(type), detail: `type ${type}` });
  // RFC 8654 §4: OPEN and KEEPALIVE stay within 4,096 bytes.
  const most = type === messageTypes.open.code || type === messageTypes.keepalive.code ? lengths.max : max;
  const exact = type === messageTypes.keepalive.code && length !== least;
  if (length < least || length > most || exact)
    throw new BgpError("bad-message-length", {
      data: bytes.slice(at + 16, at + 18),
      detail: `${length} bytes, type ${type}`,
    });
  return length;
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
