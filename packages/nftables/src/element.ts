import { addressToBytes, type Family, parsePrefix, prefixSize } from "@margay/net";
import { big16 } from "./encode.ts";
import { fieldBytes, keyBytes } from "./field.ts";
import type { NftMap, NftSet } from "./item.ts";

/**
 * Elements in the one form that is compared and sent: members of a hash set or a map as they are, those of an interval set
 * as `<first>-<last>` in hexadecimal, merged, so that no two overlap or touch: the kernel refuses the former.
 */
export function elementsOf(item: NftSet | NftMap): ReadonlySet<string> {
  if (item.elements) return item.elements;
  if (item.kind === "map" || !item.interval) return item.members;
  const known = merged.get(item.members);
  if (known) return known;
  const elements = new Set(intervals(item));
  merged.set(item.members, elements);
  return elements;
}

const merged = new WeakMap<ReadonlySet<string>, ReadonlySet<string>>();

/** What the kernel is told of one element: an interval is two, its beginning and the value after its end. */
export interface KernelElement {
  readonly key: Uint8Array;
  readonly isEnd?: boolean;
  readonly verdict?: { readonly code: "goto" | "jump"; readonly chain: string };
}

/** RangeError for text that is no element of such a set. */
export function kernelElements(element: string, item: NftSet | NftMap): readonly KernelElement[] {
  const { family, fields } = item;
  if (item.kind === "map") {
    const [, key = "", code, chain = ""] = /^(.*) : (goto|jump) (.+)$/.exec(element) ?? [];
    if (code === undefined) throw new RangeError(`${element} is no element of a verdict map`);
    return [{ key: keyBytes(key, fields, family), verdict: { code: code as "goto" | "jump", chain } }];
  }
  if (!item.interval) return [{ key: keyBytes(element, fields, family) }];
  const [first = 0n, last = 0n] = element.split("-").map((hex) => BigInt(`0x${hex}`));
  const bytes = fieldBytes(fields[0] ?? "saddr", family);
  const end = last + 1n;
  const begin = { key: bytesOf(first, bytes) };
  return end >> BigInt(bytes * 8) === 0n ? [begin, { key: bytesOf(end, bytes), isEnd: true }] : [begin];
}

/** The reverse, for an interval set: the kernel's elements in any order. */
export function intervalsFrom(elements: readonly KernelElement[]): Set<string> {
  const sorted = elements
    .map(({ key, isEnd }) => ({ at: numberOf(key), isEnd: isEnd ?? false, bytes: key.length }))
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : Number(b.isEnd) - Number(a.isEnd)));
  const found = new Set<string>();
  let first: bigint | undefined;
  for (const { at, isEnd } of sorted) {
    if (isEnd && first !== undefined) found.add(spell(first, at - 1n));
    first = isEnd ? undefined : at;
  }
  const bytes = sorted[0]?.bytes ?? 0;
  if (first !== undefined) found.add(spell(first, (1n << BigInt(bytes * 8)) - 1n));
  return found;
}

const spell = (first: bigint, last: bigint): string => `${first.toString(16)}-${last.toString(16)}`;

function* intervals({ members, fields, family }: NftSet): Generator<string> {
  const isPort = fields[0] === "sport" || fields[0] === "dport";
  const ranges = [...members].map(isPort ? portRange : (text) => netRange(text, family));
  ranges.sort((a, b) => (a.first < b.first ? -1 : 1));
  let open: Range | undefined;
  for (const range of ranges) {
    if (open && range.first <= open.last + 1n)
      open = range.last > open.last ? { first: open.first, last: range.last } : open;
    else {
      if (open) yield spell(open.first, open.last);
      open = range;
    }
  }
  if (open) yield spell(open.first, open.last);
}

interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

function netRange(text: string, family: Family): Range {
  const net = parsePrefix(text, { mask: true });
  if (net.family !== family) throw new RangeError(`${text} is not IPv${family}`);
  return { first: net.bits, last: net.bits + prefixSize(net) - 1n };
}

function portRange(text: string): Range {
  const [first = "", last = first] = text.split("-");
  return { first: BigInt(first), last: BigInt(last) };
}

const bytesOf = (bits: bigint, length: number): Uint8Array =>
  length === 2 ? big16(Number(bits)) : addressToBytes({ family: length === 4 ? 4 : 6, bits });

const numberOf = (bytes: Uint8Array): bigint => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
