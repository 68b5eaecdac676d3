import { Reader, ShortInput, Writer } from "@margay/net";
import { mergeAs4 } from "./as-path.ts";
import {
  type AttributeContext,
  type AttributeRow,
  attributeByType,
  attributeTable,
  type Draft,
  Malformed,
  type Outcome,
} from "./attribute-table.ts";
import type { Attributes, NextHop } from "./attributes.ts";
import { AS_TRANS, flags } from "./code-points.ts";
import { BgpError } from "./error.ts";

/** One attribute cut from the list; `value` is a view. */
export interface RawAttribute {
  readonly flags: number;
  readonly type: number;
  readonly value: Uint8Array;
}

/** A broken attribute and what it cost, RFC 7606 §2. */
export interface Problem {
  readonly type: number;
  readonly outcome: Outcome;
  readonly why: string;
}

/** Attributes of a message; `attributes` is absent where the routes are to be treated as withdrawn. */
export interface ReadAttributes {
  readonly attributes?: Attributes;
  readonly problems: readonly Problem[];
}

/**
 * Splits an attribute list, RFC 4271 §4.3: | flags 1 | type 1 | length 1 or 2 | value |. A list that overruns gives
 * what came before it and a problem (RFC 7606 §4).
 */
export function splitAttributes(bytes: Uint8Array): { raw: RawAttribute[]; problem?: Problem } {
  const raw: RawAttribute[] = [];
  const r = new Reader(bytes);
  try {
    while (r.left > 0) {
      const flagBits = r.u8();
      const type = r.u8();
      raw.push({ flags: flagBits, type, value: r.bytes(flagBits & flags.extendedLength ? r.u16() : r.u8()) });
    }
    return { raw };
  } catch (error) {
    if (!(error instanceof ShortInput)) throw error;
    return { raw, problem: { type: 0, outcome: "treat-as-withdraw", why: "an attribute overruns the list" } };
  }
}

/**
 * Reads the attributes of one message but MP_REACH and MP_UNREACH. `nextHop` is that of MP_REACH, and stands for
 * NEXT_HOP when given. Throws BgpError `unrecognized-well-known`; all else that is wrong comes back as problems.
 */
export function readAttributes(
  raw: readonly RawAttribute[],
  ctx: AttributeContext & { readonly nextHop?: NextHop },
): ReadAttributes {
  const problems: Problem[] = [];
  const draft: Draft = {};
  const seen = new Set<number>();
  for (const attribute of raw) {
    if (seen.has(attribute.type)) {
      problems.push({ type: attribute.type, outcome: "attribute-discard", why: "given twice" }); // RFC 7606 §3 g
      continue;
    }
    seen.add(attribute.type);
    const problem = readOne(attribute, ctx, draft);
    if (problem) problems.push(problem);
  }
  if (ctx.nextHop) draft.nextHop = ctx.nextHop;
  mergeOld(draft);
  const { origin, asPath, nextHop } = draft;
  const lack = !origin ? 1 : !asPath ? 2 : !nextHop ? 3 : 0; // RFC 7606 §3 d
  if (lack) problems.push({ type: lack, outcome: "treat-as-withdraw", why: "mandatory attribute missing" });
  if (!origin || !asPath || problems.some((p) => p.outcome === "treat-as-withdraw")) return { problems };
  return { attributes: { ...draft, origin, asPath }, problems };
}

function readOne(attribute: RawAttribute, ctx: AttributeContext, draft: Draft): Problem | undefined {
  const row = attributeByType.get(attribute.type);
  if (!row) return readUnknown(attribute, draft);
  if (row.internalOnly && !ctx.internal)
    return { type: row.type, outcome: "attribute-discard", why: "from a peer outside our AS" };
  if (!flagsMatch(row, attribute))
    // RFC 7606 §3 c
    return { type: row.type, outcome: "treat-as-withdraw", why: `flags 0x${attribute.flags.toString(16)}` };
  try {
    Object.assign(draft, row.read(new Reader(attribute.value), ctx));
    return undefined;
  } catch (error) {
    if (!(error instanceof Malformed || error instanceof ShortInput)) throw error;
    return { type: row.type, outcome: row.malformed, why: error.message };
  }
}

/** Optional and Transitive must be as the table says; Partial and Extended Length are the sender's. */
const flagsMatch = (row: AttributeRow, { flags: bits }: RawAttribute): boolean =>
  (bits & (flags.optional | flags.transitive)) === row.flags;

/** RFC 4271 §9: unknown optional transitive is kept, non-transitive quietly ignored; §6.3: well-known is an error. */
function readUnknown(attribute: RawAttribute, draft: Draft): undefined {
  const { type, flags: bits, value } = attribute;
  if (!(bits & flags.optional)) {
    const data = attributeBytes(attribute);
    throw new BgpError("unrecognized-well-known", { data, detail: `type ${type}` });
  }
  if (bits & flags.transitive) draft.unknown = [...(draft.unknown ?? []), { type, value: value.slice() }];
}

/** An attribute as it came, which is the data of most errors about it (RFC 4271 §6.3). */
export function attributeBytes({ type, flags: bits, value }: RawAttribute): Uint8Array {
  const w = new Writer(value.length + 4).u8(bits).u8(type);
  if (bits & flags.extendedLength) w.u16(value.length);
  else w.u8(value.length);
  return w.bytes(value).done();
}

/** RFC 6793 §4.2.3. */
function mergeOld(draft: Draft): void {
  const { as4Path, as4Aggregator } = draft;
  // Only where they are: an object that lost a property is slow for good.
  if (as4Path) delete draft.as4Path;
  if (as4Aggregator) delete draft.as4Aggregator;
  if (draft.aggregator && as4Aggregator) {
    if (draft.aggregator.as !== AS_TRANS) return; // another speaker aggregated since: both AS4 attributes are stale
    draft.aggregator = as4Aggregator;
  }
  if (draft.asPath && as4Path) draft.asPath = mergeAs4(draft.asPath, as4Path);
}

/** The attribute list without MP_REACH: the bytes that updates with these attributes share. */
export function writeAttributes(a: Attributes, ctx: AttributeContext): Uint8Array {
  const w = new Writer(128);
  for (const row of attributeTable) {
    const write = row.write(a, ctx);
    if (write) writeAttribute(w, row, write);
  }
  // Passed on by one that does not know it: Partial (RFC 4271 §9).
  for (const { type, value } of a.unknown ?? [])
    writeAttribute(w, { type, flags: flags.optional | flags.transitive | flags.partial }, (v) =>
      v.bytes(value),
    );
  return w.done();
}

/** One for all values: a writer for each was a fifth of encoding. Values do not nest. */
const scratch = new Writer(4096);

/** The bytes that `write` writes, until the next call. */
function bytesOf(write: (w: Writer) => void): Uint8Array {
  scratch.reset();
  write(scratch);
  return scratch.view();
}

/** One attribute with its header; a value above 255 bytes takes the extended length. */
export function writeAttribute(
  w: Writer,
  { type, flags: bits }: { readonly type: number; readonly flags: number },
  write: (w: Writer) => void,
): void {
  const bytes = bytesOf(write);
  if (bytes.length > 255)
    w.u8(bits | flags.extendedLength)
      .u8(type)
      .u16(bytes.length)
      .bytes(bytes);
  else w.u8(bits).u8(type).u8(bytes.length).bytes(bytes);
}
