import type { Reader, Writer } from "@margay/net";
import { AS_TRANS } from "./code-points.ts";

/** Segment types, RFC 4271 §4.3, RFC 5065 §3. */
export const segmentTypes = { set: 1, sequence: 2, confedSequence: 3, confedSet: 4 } as const;
export type SegmentKind = keyof typeof segmentTypes;

export interface Segment {
  readonly kind: SegmentKind;
  readonly ases: readonly number[];
}

/** RFC 5065 §3. We are in no confederation: read, counted as nothing, dropped towards other ASes. */
export const isConfederation = ({ kind }: Segment): boolean =>
  kind === "confedSequence" || kind === "confedSet";

/** Nearest AS first. */
export type AsPath = readonly Segment[];

const kinds = Object.keys(segmentTypes) as SegmentKind[]; // in code order, from 1
/** RFC 7606 §7.2: a cause for treat-as-withdraw. */
export class MalformedAsPath extends Error {}

/** Reads segments to the end of the window; `asSize` is 2 or 4 bytes. Throws MalformedAsPath, ShortInput. */
export function readAsPath(r: Reader, asSize: 2 | 4): AsPath {
  const path: Segment[] = [];
  while (r.left > 0) {
    const kind = kinds[r.u8() - 1];
    const count = r.u8();
    if (!kind) throw new MalformedAsPath("unknown segment type");
    if (count === 0) throw new MalformedAsPath("empty segment");
    const ases: number[] = [];
    for (let i = 0; i < count; i++) ases.push(asSize === 4 ? r.u32() : r.u16());
    path.push({ kind, ases });
  }
  return path;
}

/** Splits segments above 255 ASes, as RFC 4271 §5.1.2 b 1 asks of a prepender. */
export function writeAsPath(w: Writer, path: AsPath, asSize: 2 | 4): void {
  for (const { kind, ases } of path)
    for (let from = 0; from < ases.length; from += 255) {
      const part = ases.length <= 255 ? ases : ases.slice(from, from + 255);
      w.u8(segmentTypes[kind]).u8(part.length);
      for (const as of part) asSize === 4 ? w.u32(as) : w.u16(as > 0xffff ? AS_TRANS : as);
    }
}

/** Length for the decision process, RFC 4271 §9.1.2.2 a: a set counts one; RFC 5065 §5.3: confederations none. */
export const asPathLength = (path: AsPath): number =>
  path.reduce((sum, s) => sum + (s.kind === "sequence" ? s.ases.length : s.kind === "set" ? 1 : 0), 0);

/** The AS that the route came from, RFC 4271 §9.1.2.2 c: the first of a leading sequence. */
export function neighbourAs(path: AsPath): number | undefined {
  const first = path.find((s) => s.kind === "sequence" || s.kind === "set");
  return first?.kind === "sequence" ? first.ases[0] : undefined;
}

/** Puts `as` in front, `times` over, RFC 4271 §5.1.2 b. */
export function prepend(path: AsPath, as: number, times = 1): AsPath {
  const front = new Array<number>(times).fill(as);
  const [first, ...rest] = path;
  if (first?.kind !== "sequence") return [{ kind: "sequence", ases: front }, ...path];
  return [{ kind: "sequence", ases: [...front, ...first.ases] }, ...rest];
}

/** Each AS becomes those that `map` gives; a segment without any goes. */
export const mapAses = (path: AsPath, map: (as: number) => readonly number[]): AsPath =>
  path.map((s) => ({ kind: s.kind, ases: s.ases.flatMap(map) })).filter((s) => s.ases.length > 0);

/** RFC 6996 §5. */
export const isPrivateAs = (as: number): boolean =>
  (as >= 64512 && as <= 65534) || (as >= 4200000000 && as <= 4294967294);

/** How often `as` stands in the path. */
export const occurrences = (path: AsPath, as: number): number =>
  path.reduce((sum, s) => sum + s.ases.filter((a) => a === as).length, 0);

/**
 * RFC 6793 §4.2.3: the true path from an AS_PATH with AS_TRANS and the AS4_PATH beside it. The leading ASes that
 * the AS4_PATH lacks come from the AS_PATH; a longer AS4_PATH is ignored.
 */
export function mergeAs4(path: AsPath, as4: AsPath): AsPath {
  let lead = asPathLength(path) - asPathLength(as4);
  if (lead < 0) return path;
  const front: Segment[] = [];
  for (const segment of path) {
    if (lead <= 0) break;
    const take = segment.kind === "sequence" ? segment.ases.slice(0, lead) : segment.ases;
    front.push({ kind: segment.kind, ases: take });
    lead -= asPathLength([{ kind: segment.kind, ases: take }]);
  }
  return joinSequences([...front, ...as4.filter((s) => s.kind === "sequence" || s.kind === "set")]);
}

function joinSequences(path: AsPath): AsPath {
  const out: Segment[] = [];
  for (const segment of path) {
    const last = out.at(-1);
    if (last?.kind === "sequence" && segment.kind === "sequence")
      out[out.length - 1] = { kind: "sequence", ases: [...last.ases, ...segment.ases] };
    else out.push(segment);
  }
  return out;
}

/** `"64512 65000 {1 2}"`. */
export const formatAsPath = (path: AsPath): string =>
  path.map((s) => around[s.kind](s.ases.join(" "))).join(" ");

const around: Record<SegmentKind, (text: string) => string> = {
  sequence: (t) => t,
  set: (t) => `{${t}}`,
  confedSequence: (t) => `(${t})`,
  confedSet: (t) => `[${t}]`,
};
