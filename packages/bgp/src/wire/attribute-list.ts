import { type Address, addressToBytes, Reader } from "@margay/net";
import { readAttributes, splitAttributes } from "./attribute-codec.ts";
import type { AttributeContext } from "./attribute-table.ts";
import type { Attributes, NextHop } from "./attributes.ts";

/**
 * The attributes of some routes as they came: a checked list of bytes without the MP attributes, and the next hop of
 * MP_REACH if that is where it stood. Parsed when somebody asks.
 */
export class AttributeList {
  readonly bytes: Uint8Array;
  readonly nextHop: NextHop | undefined;
  readonly context: AttributeContext;
  /** `AttributeScan` finds nothing unusual in it. */
  readonly isPlain: boolean;
  #attributes: Attributes | undefined;

  constructor(of: {
    readonly bytes: Uint8Array;
    readonly context: AttributeContext;
    readonly isPlain: boolean;
    readonly nextHop?: NextHop | undefined;
    /** What is known already. */
    readonly attributes?: Attributes | undefined;
  }) {
    this.bytes = of.bytes;
    this.context = of.context;
    this.isPlain = of.isPlain;
    this.nextHop = of.nextHop;
    this.#attributes = of.attributes;
  }

  get attributes(): Attributes {
    this.#attributes ??= parsed(this);
    return this.#attributes;
  }
}

function parsed({ bytes, context, nextHop }: AttributeList): Attributes {
  const { attributes } = readAttributes(splitAttributes(bytes).raw, { ...context, nextHop });
  if (!attributes) throw new Error("a checked attribute list does not parse"); // broken invariant
  return attributes;
}

/**
 * The list and its next hop in one run, for tables of bytes: | attributes | next hop 0, 4, 16 or 32 |. How long the next
 * hop is goes in the code beside it.
 */
export function joinNextHop(bytes: Uint8Array, hop: NextHop | undefined): Uint8Array {
  if (!hop) return bytes;
  const size = nextHopSize(hop);
  const out = new Uint8Array(bytes.length + size);
  out.set(bytes);
  out.set(addressToBytes(hop.address), bytes.length);
  if (hop.linkLocal) out.set(addressToBytes(hop.linkLocal), out.length - 16);
  return out;
}

/** Bytes of a next hop in MP_REACH, RFC 4760 §3, RFC 2545 §3. */
export const nextHopSize = (hop: NextHop | undefined): number =>
  hop ? (hop.linkLocal ? 32 : hop.address.family === 4 ? 4 : 16) : 0;

/** What `joinNextHop` joined. */
export function splitNextHop(joined: Uint8Array, size: number): { bytes: Uint8Array; nextHop?: NextHop } {
  if (size === 0) return { bytes: joined };
  const end = joined.length - size;
  const bytes = joined.subarray(0, end);
  const r = new Reader(joined.subarray(end));
  const address: Address = r.address(size === 4 ? 4 : 6);
  return { bytes, nextHop: size === 32 ? { address, linkLocal: r.address(6) } : { address } };
}
