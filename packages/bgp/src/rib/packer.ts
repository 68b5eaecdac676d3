/** UPDATEs straight from prefix numbers into one buffer: nothing is written twice, nothing is an object on the way. */
import { addressToBytes, type Family } from "@margay/net";
import { mpReach, mpUnreach } from "../wire/attribute-table.ts";
import type { NextHop } from "../wire/attributes.ts";
import { afi, flags, lengths, messageTypes, safiUnicast } from "../wire/code-points.ts";
import { pathIdSize } from "../wire/nlri.ts";
import { longestOnWire, type NlriSource } from "./prefix-table.ts";

/** Attributes as they go out: the list without MP_REACH, and the next hop that MP_REACH needs. */
export interface WireAttributes {
  readonly bytes: Uint8Array;
  readonly nextHop: NextHop;
}

/** The same where a next hop is only given when MP_REACH needs it. */
export interface PackedAttributes {
  readonly bytes: Uint8Array;
  readonly nextHop?: NextHop;
}

/** Whether a message has room for these attributes and at least one prefix. */
export const fits = ({ bytes, nextHop }: WireAttributes, maxLength: number): boolean =>
  lengths.header +
    4 +
    bytes.length +
    (isPlain(nextHop, 4) ? 0 : 4 + 5 + 32) +
    longestOnWire[6] +
    pathIdSize <=
  maxLength;

/** RFC 4271 §4.3: IPv4 with an IPv4 next hop needs no MP_REACH. */
export const isPlain = ({ address }: NextHop, family: Family): boolean =>
  family === 4 && address.family === 4;

export class UpdatePacker {
  readonly #prefixes: NlriSource;
  readonly #family: Family;
  readonly #max: number;
  #out: Uint8Array;
  #at = 0;

  constructor(prefixes: NlriSource, maxLength: number, sizeHint = 1024) {
    this.#prefixes = prefixes;
    this.#family = prefixes.family;
    this.#max = maxLength;
    this.#out = new Uint8Array(sizeHint);
  }

  /** Bytes so far. */
  get length(): number {
    return this.#at;
  }

  /** What was packed from `from` to `to`; not copied. */
  slice(from: number, to: number): Uint8Array {
    return this.#out.subarray(from, to);
  }

  /** As few messages as hold all `ids`; the attributes must fit. */
  announce(ids: readonly number[], { bytes, nextHop }: PackedAttributes): void {
    for (let next = 0; next < ids.length; )
      next = nextHop ? this.#reach(ids, next, { bytes, nextHop }) : this.#plain(ids, next, bytes);
  }

  withdraw(ids: readonly number[]): void {
    for (let next = 0; next < ids.length; )
      next = this.#family === 4 ? this.#gone(ids, next) : this.#unreach(ids, next);
  }

  /** | header | 0 | length, attributes | NLRI |. Answers the first id that had no room, as do the next three. */
  #plain(ids: readonly number[], first: number, bytes: Uint8Array): number {
    const start = this.#begin();
    this.#u16(0);
    this.#u16(bytes.length);
    this.#bytes(bytes);
    const next = this.#nlri(ids, first, start + this.#max);
    this.#end(start);
    return next;
  }

  /** RFC 7606 §5.1: MP_REACH goes first, so that a broken list still shows the routes. */
  #reach(ids: readonly number[], first: number, { bytes, nextHop }: WireAttributes): number {
    const start = this.#begin();
    this.#u16(0);
    const list = this.#hole16();
    const body = this.#attribute(mpReach);
    const hop = addressToBytes(nextHop.address);
    const linkLocal = nextHop.linkLocal && addressToBytes(nextHop.linkLocal);
    this.#family16();
    this.#out[this.#at++] = hop.length + (linkLocal?.length ?? 0);
    this.#bytes(hop);
    if (linkLocal) this.#bytes(linkLocal);
    this.#out[this.#at++] = 0;
    const next = this.#nlri(ids, first, start + this.#max - bytes.length);
    this.#closeAttribute(body);
    this.#bytes(bytes);
    this.#patch16(list, this.#at - list - 2);
    this.#end(start);
    return next;
  }

  #gone(ids: readonly number[], first: number): number {
    const start = this.#begin();
    const routes = this.#hole16();
    const next = this.#nlri(ids, first, start + this.#max - 2);
    this.#patch16(routes, this.#at - routes - 2);
    this.#u16(0);
    this.#end(start);
    return next;
  }

  #unreach(ids: readonly number[], first: number): number {
    const start = this.#begin();
    this.#u16(0);
    const list = this.#hole16();
    const body = this.#attribute(mpUnreach);
    this.#family16();
    const next = this.#nlri(ids, first, start + this.#max);
    this.#closeAttribute(body);
    this.#patch16(list, this.#at - list - 2);
    this.#end(start);
    return next;
  }

  #nlri(ids: readonly number[], first: number, end: number): number {
    const last = end - this.#prefixes.longest;
    let next = first;
    while (next < ids.length && this.#at <= last)
      this.#at = this.#prefixes.write(ids[next++]!, this.#out, this.#at); // next is in range
    return next;
  }

  /** Room for a whole message, and its header. */
  #begin(): number {
    const start = this.#at;
    if (start + this.#max > this.#out.length) {
      const larger = new Uint8Array(Math.max(start + this.#max, this.#out.length * 2));
      larger.set(this.#out.subarray(0, start));
      this.#out = larger;
    }
    for (let at = start; at < start + 16; at++) this.#out[at] = 0xff;
    this.#out[start + 18] = messageTypes.update.code;
    this.#at = start + lengths.header;
    return start;
  }

  #end(start: number): void {
    this.#patch16(start + 16, this.#at - start);
  }

  /** Begins with the long form of length; `#closeAttribute` closes the gap where one byte is enough (RFC 4271 §4.3). */
  #attribute({ type, flags: bits }: { readonly type: number; readonly flags: number }): number {
    this.#out[this.#at++] = bits;
    this.#out[this.#at++] = type;
    this.#at += 2;
    return this.#at;
  }

  #closeAttribute(body: number): void {
    const length = this.#at - body;
    if (length > 255) {
      this.#out[body - 4]! |= flags.extendedLength;
      this.#patch16(body - 2, length);
      return;
    }
    this.#out[body - 2] = length;
    this.#out.copyWithin(body - 1, body, this.#at);
    this.#at--;
  }

  #family16(): void {
    this.#u16(afi[this.#family]);
    this.#out[this.#at++] = safiUnicast;
  }

  #hole16(): number {
    this.#at += 2;
    return this.#at - 2;
  }

  #u16(value: number): void {
    this.#patch16(this.#at, value);
    this.#at += 2;
  }

  #patch16(at: number, value: number): void {
    this.#out[at] = value >>> 8;
    this.#out[at + 1] = value & 0xff;
  }

  #bytes(bytes: Uint8Array): void {
    this.#out.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}
