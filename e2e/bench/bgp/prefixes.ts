/** Distinct prefixes by number, scattered, with the lengths of a full table of the Internet. */
import type { Prefix } from "@margay/net";
import { generator } from "./random.ts";

/** Length and its share, cumulative, of 10,000. */
const shares: readonly (readonly [length: number, upTo: number])[] = [
  [24, 6050],
  [23, 7040],
  [22, 8190],
  [21, 8700],
  [20, 9150],
  [19, 9410],
  [18, 9550],
  [17, 9630],
  [16, 9930],
  [15, 9955],
  [14, 9972],
  [13, 10_000],
];
/** First bytes with a network that daemons look askance at. */
const avoided: ReadonlySet<number> = new Set([0, 10, 100, 127, 169, 172, 192, 198, 203]);

const random = generator(7919);
const keys: number[] = [];
const given = new Set<number>();

/** One number for a prefix: its bits, then its length. */
const keyOfBits = (bits: number, length: number): number => bits * 64 + length;

/** Of prefixes as they stand in an UPDATE: 24 bits at most, and what lies behind a shorter one is masked off. */
export function* keysOfWire(nlri: Uint8Array): Generator<number> {
  for (let i = 0; i < nlri.length; ) {
    const length = nlri[i]!; // in range
    const bits = ((nlri[i + 1]! << 24) | (nlri[i + 2]! << 16) | (nlri[i + 3]! << 8)) & (-1 << (32 - length));
    yield keyOfBits(bits >>> 0, length);
    i += 1 + ((length + 7) >> 3);
  }
}

/** The same of the prefix with that number. */
export function keyOf(n: number): number {
  while (keys.length <= n) {
    const share = random() * 10_000;
    const [length] = shares.find(([, upTo]) => share < upTo) ?? [24];
    const bits = Math.floor(random() * 2 ** length) * 2 ** (32 - length);
    const first = Math.floor(bits / 2 ** 24);
    const key = keyOfBits(bits, length);
    if (first >= 224 || avoided.has(first) || given.has(key)) continue;
    given.add(key);
    keys.push(key);
  }
  return keys[n]!; // made just now
}

export function prefixOf(n: number): Prefix {
  const key = keyOf(n);
  return { family: 4, bits: BigInt(Math.floor(key / 64)), length: key % 64 };
}
