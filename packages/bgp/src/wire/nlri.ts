import { type Family, formatPrefix, type Prefix, Writer, width } from "@margay/net";
import { BgpError } from "./error.ts";

/**
 * A run of prefixes of one family in wire form, RFC 4271 §4.3, checked once and kept packed. With `pathIds` each has a
 * path identifier in front (RFC 7911 §3):
 *
 *     | (path id 4) | length 1 | ceil(length / 8) bytes | (path id 4) | length 1 | ...
 */
export interface Nlri {
  readonly family: Family;
  readonly bytes: Uint8Array;
  readonly pathIds?: true;
}

/** A prefix with its path identifier; 0 where the session has none. */
export interface PathNlri {
  readonly prefix: Prefix;
  readonly pathId: number;
}

/** Bytes of a path identifier, RFC 7911 §3. */
export const pathIdSize = 4;

/** Bytes in front of each prefix's length. */
export const leadOf = ({ pathIds }: Pick<Nlri, "pathIds">): number => (pathIds ? pathIdSize : 0);

/**
 * Takes ownership of `bytes` after checking every length. Throws `invalid-network` (RFC 7606 §5.3, RFC 7911 §5: session
 * reset).
 */
export function checkNlri(family: Family, bytes: Uint8Array, pathIds = false): Nlri {
  const max = width(family);
  const lead = pathIds ? pathIdSize : 0;
  let at = 0;
  while (at < bytes.length) {
    const length = bytes[at + lead];
    if (length === undefined) throw new BgpError("invalid-network", { detail: "a path id without a prefix" });
    if (length > max) throw new BgpError("invalid-network", { detail: `prefix length ${length}` });
    at += lead + 1 + ((length + 7) >> 3);
  }
  if (at !== bytes.length) throw new BgpError("invalid-network", { detail: "the last prefix is cut off" });
  return pathIds ? { family, bytes, pathIds } : { family, bytes };
}

/** `checkNlri` of a message: with path identifiers in families of `addPath`. */
export const nlriOf = (
  family: Family,
  bytes: Uint8Array,
  { addPath }: { readonly addPath?: readonly Family[] },
): Nlri => checkNlri(family, bytes, addPath?.includes(family));

/** The prefixes of a run, host bits cleared (RFC 4271 §4.3: trailing bits are irrelevant). */
export function* prefixesOf(nlri: Nlri): Generator<Prefix> {
  for (const { prefix } of pathsOf(nlri)) yield prefix;
}

/** The same with path identifiers. */
export function* pathsOf(nlri: Nlri): Generator<PathNlri> {
  const { family, bytes, pathIds } = nlri;
  for (let at = 0; at < bytes.length; ) {
    const pathId = pathIds ? u32At(bytes, at) : 0;
    at += leadOf(nlri);
    const length = bytes[at]!; // checked run
    const size = (length + 7) >> 3;
    let bits = 0n;
    for (let i = 1; i <= size; i++) bits = (bits << 8n) | BigInt(bytes[at + i]!);
    const host = BigInt(width(family) - length);
    const spare = BigInt(width(family) - 8 * size);
    yield { prefix: { family, bits: ((bits << spare) >> host) << host, length }, pathId };
    at += 1 + size;
  }
}

/** The path identifier at `at`. */
export const u32At = (bytes: Uint8Array, at: number): number =>
  ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0; // checked run

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
export function countPrefixes(nlri: Nlri): number {
  const { bytes } = nlri;
  const lead = leadOf(nlri);
  let count = 0;
  for (let at = lead; at < bytes.length; count++) at += lead + 1 + ((bytes[at]! + 7) >> 3); // at < bytes.length
  return count;
}

/** Packs prefixes with path identifiers, all of `family`; RangeError otherwise. */
export function packPaths(family: Family, paths: readonly PathNlri[]): Nlri {
  const w = new Writer(paths.length * 22);
  for (const { prefix, pathId } of paths) w.u32(pathId).bytes(packPrefixes(family, [prefix]).bytes);
  return { family, bytes: w.done(), pathIds: true };
}
