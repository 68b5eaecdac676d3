import {
  type Address,
  compareAddress,
  type Family,
  formatAddress,
  NetError,
  parseAddress,
  width,
} from "./address.ts";

/** A network: `bits` has no bit set beyond `length`. */
export interface Prefix {
  readonly family: Family;
  readonly bits: bigint;
  /** Prefix length in bits, 0 to 32 or 128. */
  readonly length: number;
}

/** Parses `a.b.c.d/n` or `h::/n`; a bare address is a host prefix. Host bits are refused unless `mask` is set. */
export function parsePrefix(text: string, options: { mask?: boolean } = {}): Prefix {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  const length = slash < 0 ? width(address.family) : parseLength(text, slash, address.family);
  const prefix = prefixOf(address, length);
  if (!options.mask && prefix.bits !== address.bits)
    throw new NetError("invalid-prefix", text, `host bits set; the network is ${formatPrefix(prefix)}`);
  return prefix;
}

const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const GROUPS = "(?:[1-9a-f][0-9a-f]{0,3}(?::[1-9a-f][0-9a-f]{0,3})*)?";
const HOST4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}(?:/32)?$`);
/** No group of zeros is written out, and at least two are left out: there is no other way to write it. */
const HOST6 = new RegExp(`^(?!(?:[^:]*:){7})${GROUPS}::${GROUPS}(?:/128)?$`);

/** Whether it is seen at a glance that `text` is an address, or a /32 or /128, as `formatAddress` writes it; false says nothing. */
export const isPlainHost = (text: string): boolean => HOST4.test(text) || HOST6.test(text);

function parseLength(text: string, slash: number, family: Family): number {
  const part = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > width(family))
    throw new NetError("invalid-prefix", text, `prefix length must be 0 to ${width(family)}`);
  return Number(part);
}

/** The network of `length` bits that holds `address`. */
export function prefixOf(address: Address, length: number): Prefix {
  const { family, bits } = address;
  if (length === width(family)) return { family, bits, length };
  const host = BigInt(width(family) - length);
  return { family, bits: (bits >> host) << host, length };
}

export const formatPrefix = (p: Prefix): string => `${formatAddress(p)}/${p.length}`;

/** The /32 or /128 of one address. */
export const hostPrefix = (a: Address): Prefix => ({
  family: a.family,
  bits: a.bits,
  length: width(a.family),
});

/** How many addresses: 2^(width - length). */
export const prefixSize = (p: Prefix): bigint => 1n << BigInt(width(p.family) - p.length);

/** Whether `inner` (an address or a network) lies wholly inside `outer`. */
export function contains(outer: Prefix, inner: Address | Prefix): boolean {
  const length = "length" in inner ? inner.length : width(inner.family);
  if (outer.family !== inner.family || length < outer.length) return false;
  const host = BigInt(width(outer.family) - outer.length);
  return outer.bits >> host === inner.bits >> host;
}

export const overlaps = (a: Prefix, b: Prefix): boolean => contains(a, b) || contains(b, a);

export const samePrefix = (a: Prefix, b: Prefix): boolean =>
  a.family === b.family && a.length === b.length && a.bits === b.bits;

/** Total order: by address, then shorter first. */
export const comparePrefix = (a: Prefix, b: Prefix): number => compareAddress(a, b) || a.length - b.length;

/** The sub-networks of `length` bits, lazily, in address order. */
export function* subnets(p: Prefix, length: number): Generator<Prefix> {
  const step = 1n << BigInt(width(p.family) - length);
  const end = p.bits + prefixSize(p);
  for (let bits = p.bits; bits < end; bits += step) yield { family: p.family, bits, length };
}
