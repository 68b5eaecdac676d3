import { type Family, formatPrefix, type Prefix, width } from "@margay/net";
import { BgpError } from "./error.ts";

/**
 * A run of prefixes of one family in wire form, RFC 4271 §4.3, checked once and kept packed:
 *
 *     | length 1 | ceil(length / 8) bytes | length 1 | ...
 */
export interface Nlri {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

/** Takes ownership of `bytes` after checking every length. Throws `invalid-network` (RFC 7606 §5.3: session reset). */
export function checkNlri(family: Family, bytes: Uint8Array): Nlri {
  const max = width(family);
  let at = 0;
  while (at < bytes.length) {
    const length = bytes[at]!; // at < bytes.length
    if (length > max) throw new BgpError("invalid-network", { detail: `prefix length ${length}` });
    at += 1 + ((length + 7) >> 3);
  }
  if (at !== bytes.length) throw new BgpError("invalid-network", { detail: "the last prefix is cut off" });
  return { family, bytes };
}

/** The prefixes of a run, host bits cleared (RFC 4271 §4.3: trailing bits are irrelevant). */
export function* prefixesOf({ family, bytes }: Nlri): Generator<Prefix> {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at]!; // checked run
    const size = (length + 7) >> 3;
    let bits = 0n;
    for (let i = 1; i <= size; i++) bits = (bits << 8n) | BigInt(bytes[at + i]!);
    const host = BigInt(width(family) - length);
    const spare = BigInt(width(family) - 8 * size);
    yield { family, bits: ((bits << spare) >> host) << host, length };
    at += 1 + size;
  }
}

/** Packs prefixes, all of `family`; RangeError otherwise. */
export function packPrefixes(family: Family, prefixes: readonly Prefix[]): Nlri {
  const out = new Uint8Array(prefixes.length * (1 + width(family) / 8));
  let at = 0;
  for (const p of prefixes) {
    if (p.family !== family) throw new RangeError(`${formatPrefix(p)} is not of family ${family}`);
    out[at++] = p.length;
    const size = (p.length + 7) >> 3;
    for (let i = 0; i < size; i++)
      out[at++] = Number((p.bits >> BigInt(width(family) - 8 * (i + 1))) & 0xffn);
  }
  return { family, bytes: out.slice(0, at) };
}

/** How many prefixes a run holds. */
export function countPrefixes({ bytes }: Nlri): number {
  let count = 0;
  for (let at = 0; at < bytes.length; count++) at += 1 + ((bytes[at]! + 7) >> 3); // at < bytes.length
  return count;
}
