/** 4 for IPv4, 6 for IPv6. */
export type Family = 4 | 6;

/** One host. `bits` is the address as an unsigned integer of 32 or 128 bits. */
export interface Address {
  readonly family: Family;
  readonly bits: bigint;
}

/** Text that is no address or prefix. `input` is the offending text. */
export class NetError extends Error {
  readonly code: "invalid-address" | "invalid-prefix";
  readonly input: string;
  constructor(code: NetError["code"], input: string, why: string) {
    super(`${JSON.stringify(input)}: ${why}`);
    this.code = code;
    this.input = input;
  }
}

/** Address width in bits. */
export const width = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

/** Parses dotted-quad IPv4 or RFC 4291 §2.2 IPv6 text. Throws NetError `invalid-address`. */
export function parseAddress(text: string): Address {
  const bits = text.includes(":") ? parse6(text) : parse4(text);
  if (bits === undefined) throw new NetError("invalid-address", text, "not an IPv4 or IPv6 address");
  return { family: text.includes(":") ? 6 : 4, bits };
}

function parse4(text: string): bigint | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let bits = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bits = bits * 256 + Number(part);
  }
  return BigInt(bits);
}

function parse6(text: string): bigint | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = [groups(halves[0] ?? ""), groups(halves[1] ?? "")];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const [left, right] = [head, tail].map((side) => side.map(hex4).join("")) as [string, string]; // of two, two
  return BigInt(`0x${left}${"0000".repeat(missing)}${right}`);
}

const hex4 = (group: number): string => group.toString(16).padStart(4, "0");

/** The 16-bit groups of one side of "::"; a trailing dotted quad counts as two. */
function groups(text: string): number[] | undefined {
  if (text === "") return [];
  const out: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (i === parts.length - 1 && part.includes(".")) {
      const quad = parse4(part);
      if (quad === undefined) return undefined;
      out.push(Number(quad >> 16n), Number(quad & 0xffffn));
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) out.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return out;
}

/** Canonical text: dotted quad, or RFC 5952 for IPv6. */
export const formatAddress = (a: Address): string => (a.family === 4 ? format4(a.bits) : format6(a.bits));

function format4(bits: bigint): string {
  const n = Number(bits);
  return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
}

function format6(bits: bigint): string {
  const digits = bits.toString(16).padStart(32, "0");
  const parts = Array.from({ length: 8 }, (_, i) => Number.parseInt(digits.slice(4 * i, 4 * i + 4), 16));
  const { start, length } = longestZeroRun(parts);
  const hex = (from: number, to: number) =>
    parts
      .slice(from, to)
      .map((p) => p.toString(16))
      .join(":");
  return length < 2 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
}

/** RFC 5952 §4.2.3: the longest run of zero groups, the first of equals. */
function longestZeroRun(parts: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i <= parts.length; i++) {
    if (i < parts.length && parts[i] === 0) continue;
    if (i - start > best.length) best = { start, length: i - start };
    start = i + 1;
  }
  return best;
}

/** Network byte order, 4 or 16 bytes. */
export function addressToBytes(a: Address): Uint8Array {
  if (a.family === 4) {
    const n = Number(a.bits);
    return Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n);
  }
  const size = width(a.family) / 8;
  const out = new Uint8Array(size);
  for (let i = size - 1, bits = a.bits; i >= 0; i--, bits >>= 8n) out[i] = Number(bits & 0xffn);
  return out;
}

/** From 4 or 16 bytes in network byte order; any other length is a RangeError. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16) throw new RangeError(`address of ${bytes.length} bytes`);
  if (bytes.length === 4) {
    const [a = 0, b = 0, c = 0, d = 0] = bytes;
    return { family: 4, bits: BigInt(((a << 24) | (b << 16) | (c << 8) | d) >>> 0) };
  }
  let bits = 0n;
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte);
  return { family: 6, bits };
}

/** Total order: IPv4 before IPv6, then numeric. */
export function compareAddress(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.bits < b.bits ? -1 : a.bits > b.bits ? 1 : 0;
}

export const sameAddress = (a: Address, b: Address): boolean => a.family === b.family && a.bits === b.bits;

/** The address `n` after `a` (before, if negative). RangeError outside the family's range. */
export function offset(a: Address, n: number | bigint): Address {
  const bits = a.bits + BigInt(n);
  if (bits < 0n || bits >= 1n << BigInt(width(a.family))) throw new RangeError("address out of range");
  return { family: a.family, bits };
}
