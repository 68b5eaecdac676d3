import type { Address, Reader, Writer } from "@margay/net";
import { type AsPath, isConfederation, MalformedAsPath, readAsPath, writeAsPath } from "./as-path.ts";
import { type Attributes, type LargeCommunity, origins } from "./attributes.ts";
import { AS_TRANS, flags } from "./code-points.ts";

/** What the session settled that changes how attribute bytes are read and written. */
export interface AttributeContext {
  /** Both sides announced RFC 6793. */
  readonly as4: boolean;
  /** The peer is in our AS. */
  readonly internal: boolean;
}

/** Attributes as read, before AS4_PATH and AS4_AGGREGATOR are merged away. */
export type Draft = { -readonly [K in keyof Attributes]?: Attributes[K] } & {
  as4Path?: AsPath;
  as4Aggregator?: NonNullable<Attributes["aggregator"]>;
};

/** A value that breaks its attribute's rules; the row says what follows. */
export class Malformed extends Error {}

/** What RFC 7606 §2 asks for when one attribute is broken. */
export type Outcome = "treat-as-withdraw" | "attribute-discard";

/** One path attribute: its code point, its flags, what breaking it costs, how to read and write it. */
export interface AttributeRow {
  readonly type: number;
  readonly flags: number;
  readonly rfc: string;
  readonly malformed: Outcome;
  /** Only from peers inside our AS; discarded from others (RFC 7606 §7.5, §7.9, §7.10). */
  readonly internalOnly?: true;
  readonly read: (r: Reader, ctx: AttributeContext) => Draft;
  /** Nothing to write: undefined. */
  readonly write: (a: Attributes, ctx: AttributeContext) => ((w: Writer) => void) | undefined;
}

const wellKnown = flags.transitive;
const optional = flags.optional;
const optionalTransitive = flags.optional | flags.transitive;
const withdraw = "treat-as-withdraw";
const discard = "attribute-discard";

/** RFC 7606 §7 fixes a length for most attributes. */
function exactly(r: Reader, bytes: number): Reader {
  if (r.left !== bytes) throw new Malformed(`${r.left} bytes, ${bytes} expected`);
  return r;
}

/** A list of `size`-byte items; RFC 7606 §7.8, §7.10, §7.14: neither empty nor cut off. */
function list<T>(r: Reader, size: number, item: () => T): T[] {
  if (r.left === 0 || r.left % size !== 0)
    throw new Malformed(`${r.left} bytes, a multiple of ${size} expected`);
  const items: T[] = [];
  while (r.left > 0) items.push(item());
  return items;
}

/** RFC 7607 §2: AS 0 makes a path malformed. */
function readPath(r: Reader, size: 2 | 4): AsPath {
  try {
    const path = readAsPath(r, size);
    if (path.some((s) => s.ases.includes(0))) throw new MalformedAsPath("AS 0");
    return path;
  } catch (cause) {
    if (cause instanceof MalformedAsPath) throw new Malformed(cause.message, { cause });
    throw cause;
  }
}

/** RFC 5065 §5: confederation segments are for members of the confederation; from outside they make the path malformed. */
function readOwnPath(r: Reader, ctx: AttributeContext): AsPath {
  const path = readPath(r, ctx.as4 ? 4 : 2);
  if (!ctx.internal && path.some(isConfederation)) throw new Malformed("confederation segment from outside");
  return path;
}

/** RFC 7607 §2. */
function aggregatorOf(as: number, address: Address): NonNullable<Attributes["aggregator"]> {
  if (as === 0) throw new Malformed("AS 0");
  return { as, address };
}

/** Every item of a list in turn. */
function each<T>(items: readonly T[], write: (item: T) => void): void {
  for (const item of items) write(item);
}

/** Optional value to optional write. */
const given = <T>(
  value: T | undefined,
  write: (w: Writer, value: T) => void,
): ((w: Writer) => void) | undefined => (value === undefined ? undefined : (w) => write(w, value));

const wide = (path: AsPath): boolean => path.some((s) => s.ases.some((as) => as > 0xffff));

/** MP_REACH_NLRI and MP_UNREACH_NLRI carry routes, not attributes of routes: `update.ts` reads and writes them. */
export const mpReach = { type: 14, flags: optional, rfc: "RFC 4760 §3" } as const;
export const mpUnreach = { type: 15, flags: optional, rfc: "RFC 4760 §4" } as const;

/** NEXT_HOP, apart because it belongs to the IPv4 NLRI of the message alone. RFC 4271 §5.1.3. */
export const nextHopAttribute = { type: 3, flags: wellKnown, rfc: "RFC 4271 §5.1.3" } as const;

/** In type order, which is also the order of writing (RFC 4271 §5). */
export const attributeTable: readonly AttributeRow[] = [
  {
    type: 1, // ORIGIN
    flags: wellKnown,
    rfc: "RFC 4271 §5.1.1",
    malformed: withdraw,
    read: (r) => {
      const value = exactly(r, 1).u8();
      const origin = origins[value];
      if (!origin) throw new Malformed(`origin ${value}`);
      return { origin };
    },
    write: (a) => (w) => w.u8(origins.indexOf(a.origin)),
  },
  {
    type: 2, // AS_PATH
    flags: wellKnown,
    rfc: "RFC 4271 §5.1.2",
    malformed: withdraw,
    read: (r, ctx) => ({ asPath: readOwnPath(r, ctx) }),
    write: (a, ctx) => (w) => writeAsPath(w, a.asPath, ctx.as4 ? 4 : 2),
  },
  {
    ...nextHopAttribute,
    malformed: withdraw,
    read: (r) => ({ nextHop: { address: exactly(r, 4).address(4) } }),
    write: (a) =>
      a.nextHop?.address.family === 4 ? given(a.nextHop.address, (w, v) => w.address(v)) : undefined,
  },
  {
    type: 4, // MULTI_EXIT_DISC
    flags: optional,
    rfc: "RFC 4271 §5.1.4",
    malformed: withdraw,
    read: (r) => ({ med: exactly(r, 4).u32() }),
    write: (a) => given(a.med, (w, v) => w.u32(v)),
  },
  {
    type: 5, // LOCAL_PREF
    flags: wellKnown,
    rfc: "RFC 4271 §5.1.5",
    malformed: withdraw,
    internalOnly: true,
    read: (r) => ({ localPref: exactly(r, 4).u32() }),
    write: (a) => given(a.localPref, (w, v) => w.u32(v)),
  },
  {
    type: 6, // ATOMIC_AGGREGATE
    flags: wellKnown,
    rfc: "RFC 4271 §5.1.6",
    malformed: discard,
    read: (r) => {
      exactly(r, 0);
      return { atomicAggregate: true };
    },
    write: (a) => given(a.atomicAggregate, () => {}),
  },
  {
    type: 7, // AGGREGATOR
    flags: optionalTransitive,
    rfc: "RFC 4271 §5.1.7",
    malformed: discard,
    read: (r, ctx) => {
      exactly(r, ctx.as4 ? 8 : 6);
      return { aggregator: aggregatorOf(ctx.as4 ? r.u32() : r.u16(), r.address(4)) };
    },
    write: (a, ctx) =>
      given(a.aggregator, (w, v) =>
        (ctx.as4 ? w.u32(v.as) : w.u16(v.as > 0xffff ? AS_TRANS : v.as)).address(v.address),
      ),
  },
  {
    type: 8, // COMMUNITIES
    flags: optionalTransitive,
    rfc: "RFC 1997",
    malformed: withdraw,
    read: (r) => ({ communities: list(r, 4, () => r.u32()) }),
    write: (a) => given(a.communities, (w, v) => each(v, (c) => w.u32(c))),
  },
  {
    type: 9, // ORIGINATOR_ID
    flags: optional,
    rfc: "RFC 4456 §8",
    malformed: withdraw,
    internalOnly: true,
    read: (r) => ({ originatorId: exactly(r, 4).u32() }),
    write: (a) => given(a.originatorId, (w, v) => w.u32(v)),
  },
  {
    type: 10, // CLUSTER_LIST
    flags: optional,
    rfc: "RFC 4456 §8",
    malformed: withdraw,
    internalOnly: true,
    read: (r) => ({ clusterList: list(r, 4, () => r.u32()) }),
    write: (a) => given(a.clusterList, (w, v) => each(v, (c) => w.u32(c))),
  },
  {
    type: 16, // EXTENDED COMMUNITIES
    flags: optionalTransitive,
    rfc: "RFC 4360 §2",
    malformed: withdraw,
    read: (r) => ({ extendedCommunities: list(r, 8, () => r.u64()) }),
    write: (a) => given(a.extendedCommunities, (w, v) => each(v, (c) => w.u64(c))),
  },
  {
    type: 17, // AS4_PATH; a session with four-octet ASes must not carry it (RFC 6793 §6)
    flags: optionalTransitive,
    rfc: "RFC 6793 §3",
    malformed: discard,
    read: (r, ctx) => (ctx.as4 ? {} : { as4Path: readPath(r, 4) }),
    // RFC 6793 §4.2.2: without confederation segments.
    write: (a, ctx) =>
      !ctx.as4 && wide(a.asPath)
        ? (w) =>
            writeAsPath(
              w,
              a.asPath.filter((s) => !isConfederation(s)),
              4,
            )
        : undefined,
  },
  {
    type: 18, // AS4_AGGREGATOR
    flags: optionalTransitive,
    rfc: "RFC 6793 §3",
    malformed: discard,
    read: (r, ctx) => {
      exactly(r, 8);
      return ctx.as4 ? {} : { as4Aggregator: aggregatorOf(r.u32(), r.address(4)) };
    },
    write: (a, ctx) =>
      !ctx.as4 && a.aggregator && a.aggregator.as > 0xffff
        ? given(a.aggregator, (w, v) => w.u32(v.as).address(v.address))
        : undefined,
  },
  {
    type: 32, // LARGE_COMMUNITY
    flags: optionalTransitive,
    rfc: "RFC 8092 §3",
    malformed: withdraw,
    read: (r) => ({ largeCommunities: list(r, 12, (): LargeCommunity => [r.u32(), r.u32(), r.u32()]) }),
    write: (a) => given(a.largeCommunities, (w, v) => each(v, ([g, x, y]) => w.u32(g).u32(x).u32(y))),
  },
  {
    type: 35, // ONLY_TO_CUSTOMER
    flags: optionalTransitive,
    rfc: "RFC 9234 §5",
    malformed: withdraw,
    read: (r) => ({ onlyToCustomer: exactly(r, 4).u32() }),
    write: (a) => given(a.onlyToCustomer, (w, v) => w.u32(v)),
  },
];

export const attributeByType: ReadonlyMap<number, AttributeRow> = new Map(
  attributeTable.map((row) => [row.type, row]),
);
