import { type Address, type Family, Reader, ShortInput, Writer } from "@margay/net";
import {
  attributeBytes,
  type Problem,
  type RawAttribute,
  readAttributes,
  splitAttributes,
  writeAttribute,
  writeAttributes,
} from "./attribute-codec.ts";
import { AttributeList } from "./attribute-list.ts";
import { type AttributeContext, mpReach, mpUnreach } from "./attribute-table.ts";
import type { Attributes, NextHop } from "./attributes.ts";
import { readFamily } from "./capabilities.ts";
import { afi, flags, lengths, safiUnicast } from "./code-points.ts";
import { BgpError } from "./error.ts";
import { checkNlri, leadOf, type Nlri } from "./nlri.ts";
import { scan } from "./scan.ts";

/** Routes that share one set of attributes (`nextHop` included). */
export interface Announcement {
  readonly nlri: Nlri;
  readonly attributes: Attributes;
}

/** Routes as they came: their attributes are parsed when somebody asks. */
export class Received implements Announcement {
  readonly nlri: Nlri;
  readonly list: AttributeList;
  constructor(nlri: Nlri, list: AttributeList) {
    this.nlri = nlri;
    this.list = list;
  }
  get attributes(): Attributes {
    return this.list.attributes;
  }
}

/**
 * UPDATE, RFC 4271 §4.3 and RFC 4760. What RFC 7606 treats as withdrawn is already among `withdrawn`; `problems`
 * says why. `endOfRib` is the marker of RFC 4724 §2.
 */
export interface Update {
  readonly kind: "update";
  readonly withdrawn: readonly Nlri[];
  readonly announced: readonly Received[];
  readonly problems: readonly Problem[];
  readonly endOfRib?: Family;
}

export interface UpdateContext extends AttributeContext {
  /** Families that both sides announced; routes of others are ignored (RFC 4760 §7). */
  readonly families: readonly Family[];
  /** Both sides announced RFC 8950. */
  readonly extendedNextHop?: boolean;
  /** Families whose prefixes come with path identifiers (RFC 7911 §3). */
  readonly addPath?: readonly Family[];
}

/** UPDATE body. Throws BgpError where RFC 7606 leaves only a session reset. */
export function readUpdate(r: Reader, ctx: UpdateContext): Update {
  const body = r.rest();
  return readPlain(body, ctx) ?? readAny(new Reader(body), ctx);
}

/** An UPDATE that only announces, IPv4 with a plain list: nearly all of a full table. Undefined: any other. */
function readPlain(body: Uint8Array, ctx: UpdateContext): Update | undefined {
  if (body.length < 4 || body[0] !== 0 || body[1] !== 0 || !ctx.families.includes(4)) return undefined;
  const end = 4 + body[2]! * 256 + body[3]!; // in range
  if (end >= body.length) return undefined;
  const bytes = body.subarray(4, end);
  if (!scan.look(bytes, ctx, false)) return undefined;
  const list = new AttributeList({ bytes, context: ctx, isPlain: true });
  const announced = [new Received(nlriOf(4, body.subarray(end), ctx), list)];
  return { kind: "update", withdrawn: none, announced, problems: none };
}

function readAny(r: Reader, ctx: UpdateContext): Update {
  const withdrawnBytes = sized16(r, "withdrawn routes");
  const listBytes = sized16(r, "path attributes");
  const withdrawn4 = nlriOf(4, withdrawnBytes, ctx);
  const nlri4 = nlriOf(4, r.rest(), ctx);
  const { raw, problem } = splitAttributes(listBytes);
  const reach = only(raw, mpReach.type);
  const unreach = only(raw, mpUnreach.type);
  const rest = raw.filter((a) => a.type !== mpReach.type && a.type !== mpUnreach.type);

  const out = new Collector(ctx.families);
  if (problem) out.problems.push(problem);
  out.withdraw(withdrawn4);
  if (unreach) out.withdraw(readUnreach(unreach, ctx, out.problems));
  if (nlri4.bytes.length > 0) out.announce(nlri4, readList(rest, ctx));
  if (reach) {
    const mp = readReach(reach, ctx);
    if (mp) out.announce(mp.nlri, mp.nextHop ? readList(rest, ctx, mp.nextHop) : malformedReach(mp.why));
  }
  if (nlri4.bytes.length === 0 && !reach) refuseHidden(rest, { ctx, problem });
  const empty = withdrawn4.bytes.length === 0 && nlri4.bytes.length === 0 && !reach;
  return { kind: "update", ...out.done(), ...(empty ? endOfRib(raw, unreach) : {}) };
}

const nlriOf = (family: Family, bytes: Uint8Array, { addPath }: UpdateContext): Nlri =>
  checkNlri(family, bytes, addPath?.includes(family));

/** RFC 7606 §5.2: broken attributes of no routes at all: their routes must be hidden in what could not be read. */
function refuseHidden(rest: readonly RawAttribute[], of: { ctx: UpdateContext; problem?: Problem }): void {
  const given = new Set(rest.map((a) => a.type));
  const problems = rest.length === 0 ? [] : readAttributes(rest, of.ctx).problems;
  const broken = problems.find((p) => p.outcome === "treat-as-withdraw" && given.has(p.type));
  const fault = of.problem ?? broken;
  if (fault)
    throw new BgpError("malformed-attribute-list", {
      detail: `attribute ${fault.type}: ${fault.why}, no routes`,
    });
}

/** Gathers what is withdrawn and announced; a treat-as-withdraw outcome moves routes from one to the other. */
class Collector {
  readonly withdrawn: Nlri[] = [];
  readonly announced: Received[] = [];
  readonly problems: Problem[] = [];
  readonly #families: readonly Family[];
  constructor(families: readonly Family[]) {
    this.#families = families;
  }
  withdraw(nlri: Nlri | undefined): void {
    if (nlri && nlri.bytes.length > 0 && this.#families.includes(nlri.family)) this.withdrawn.push(nlri);
  }
  announce(nlri: Nlri, { list, problems }: ReadList): void {
    const overrun = this.problems.some((p) => p.outcome === "treat-as-withdraw");
    this.problems.push(...problems);
    if (!list || overrun) this.withdraw(nlri);
    else if (this.#families.includes(nlri.family)) this.announced.push(new Received(nlri, list));
  }
  done() {
    return { withdrawn: this.withdrawn, announced: this.announced, problems: this.problems };
  }
}

/** A list of one message; absent where the routes are to be treated as withdrawn. */
interface ReadList {
  readonly list?: AttributeList;
  readonly problems: readonly Problem[];
}

const none: readonly never[] = [];

/** Plain lists are looked at, all others parsed. */
function readList(rest: readonly RawAttribute[], ctx: UpdateContext, nextHop?: NextHop): ReadList {
  const bytes = rest.reduce((w, a) => w.bytes(attributeBytes(a)), new Writer(256)).done();
  if (scan.look(bytes, ctx, nextHop !== undefined))
    return { list: new AttributeList({ bytes, context: ctx, isPlain: true, nextHop }), problems: none };
  const { attributes, problems } = readAttributes(rest, { ...ctx, nextHop });
  if (!attributes) return { problems };
  return { list: new AttributeList({ bytes, context: ctx, isPlain: false, nextHop, attributes }), problems };
}

/** RFC 7606 §3 c, §7.11: what is wrong does not hide which routes are meant. */
const malformedReach = (why: string): ReadList => ({
  problems: [{ type: mpReach.type, outcome: "treat-as-withdraw", why }],
});

function sized16(r: Reader, what: string): Uint8Array {
  const length = r.left < 2 ? Number.POSITIVE_INFINITY : r.u16();
  if (length > r.left)
    throw new BgpError("malformed-attribute-list", { detail: `${what} overrun the message` });
  return r.bytes(length);
}

/** RFC 7606 §3 g: MP_REACH or MP_UNREACH given twice resets the session. */
function only(raw: readonly RawAttribute[], type: number): RawAttribute | undefined {
  const found = raw.filter((a) => a.type === type);
  if (found.length > 1)
    throw new BgpError("malformed-attribute-list", { detail: `attribute ${type} given twice` });
  return found[0];
}

type Reach = { nlri: Nlri } & ({ nextHop: NextHop } | { nextHop?: undefined; why: string });

/** | AFI 2 | SAFI 1 | next hop length 1 | next hop | reserved 1 | NLRI |; undefined for a family not ours. */
function readReach(attribute: RawAttribute, ctx: UpdateContext): Reach | undefined {
  return mpField(attribute, (r) => {
    const family = readFamily(r.u16(), r.u8());
    const hop = r.window(r.u8());
    r.u8();
    if (!family) return undefined;
    const nlri = nlriOf(family, r.rest(), ctx);
    if (!optionalOnly(attribute)) return { nlri, why: "flags" };
    const nextHop = readNextHop(hop, hopSizes(family, ctx));
    return nextHop ? { nlri, nextHop } : { nlri, why: "next hop length" };
  });
}

/** RFC 4760 §3, RFC 2545 §3; RFC 8950 §4: IPv4 by way of an IPv6 next hop only if both sides said so. */
const hopSizes = (family: Family, { extendedNextHop }: UpdateContext): readonly number[] =>
  family === 6 ? [16, 32] : extendedNextHop ? [4, 16, 32] : [4];

/** A zero link-local is BIRD's and Quagga's "none". */
function readNextHop(r: Reader, sizes: readonly number[]): NextHop | undefined {
  if (!sizes.includes(r.left)) return undefined;
  if (r.left === 4) return { address: r.address(4) };
  const both = r.left === 32;
  const address: Address = r.address(6);
  if (!both) return { address };
  const linkLocal = r.address(6);
  if (address.bits === 0n) return { address: linkLocal }; // of a link without another network, BIRD's way
  return linkLocal.bits === 0n ? { address } : { address, linkLocal };
}

/** Wrong flags are a problem, and what is withdrawn stays withdrawn (RFC 7606 §3 c). */
function readUnreach(attribute: RawAttribute, ctx: UpdateContext, problems: Problem[]): Nlri | undefined {
  if (!optionalOnly(attribute))
    problems.push({ type: mpUnreach.type, outcome: "treat-as-withdraw", why: "flags" });
  return mpField(attribute, (r) => {
    const family = readFamily(r.u16(), r.u8());
    return family && nlriOf(family, r.rest(), ctx);
  });
}

const optionalOnly = ({ flags: bits }: RawAttribute): boolean =>
  (bits & (flags.optional | flags.transitive)) === flags.optional;

/** RFC 7606 §5.3: an MP attribute that hides which routes it means: session reset, RFC 4760 §7 says with which code. */
function mpField<T>(attribute: RawAttribute, read: (r: Reader) => T): T {
  try {
    return read(new Reader(attribute.value));
  } catch (cause) {
    if (!(cause instanceof BgpError || cause instanceof ShortInput)) throw cause;
    const detail = `attribute ${attribute.type}: ${cause.message}`;
    throw new BgpError("optional-attribute", { data: attributeBytes(attribute), detail, cause });
  }
}

/** RFC 4724 §2: an empty UPDATE for IPv4, an empty MP_UNREACH alone for the others. */
function endOfRib(raw: readonly RawAttribute[], unreach: RawAttribute | undefined): { endOfRib?: Family } {
  if (raw.length === 0) return { endOfRib: 4 };
  if (raw.length !== 1 || unreach?.value.length !== 3) return {};
  const r = new Reader(unreach.value);
  const family = readFamily(r.u16(), r.u8());
  return family ? { endOfRib: family } : {};
}

/** The End-of-RIB marker, an UPDATE body. */
export function writeEndOfRib(family: Family): Uint8Array {
  const w = new Writer(16).u16(0);
  if (family === 4) return w.u16(0).done();
  return w.sized16((a) => writeAttribute(a, mpUnreach, (v) => v.u16(afi[family]).u8(safiUnicast))).done();
}

export interface WriteContext extends AttributeContext {
  /** Longest message, header included: 4,096 or, after RFC 8654, 65,535. */
  readonly maxLength?: number;
}

/**
 * UPDATE bodies that announce `nlri` with `attributes` (whose `nextHop` must be given), as few as fit. IPv4 with
 * an IPv4 next hop uses the message's own fields; all else MP_REACH. RangeError when the attributes alone fill a message.
 */
export function writeAnnouncements({ nlri, attributes }: Announcement, ctx: WriteContext): Uint8Array[] {
  const common = writeAttributes(attributes, ctx);
  const hop = attributes.nextHop;
  if (!hop) throw new RangeError("attributes without a next hop");
  const plain = nlri.family === 4 && hop.address.family === 4;
  const room = (ctx.maxLength ?? lengths.max) - lengths.header - 4 - common.length - (plain ? 0 : 4 + 5 + 32);
  return [...slices(nlri, room)].map((part) => {
    const w = new Writer(common.length + part.length + 64).u16(0);
    if (plain) return w.u16(common.length).bytes(common).bytes(part).done();
    // RFC 7606 §5.1: MP_REACH goes first, so that a broken list still shows the routes.
    const body = (a: Writer) => {
      writeAttribute(a, mpReach, (v) => writeReach(v, nlri.family, hop, part));
      a.bytes(common);
    };
    return w.sized16(body).done();
  });
}

function writeReach(w: Writer, family: Family, hop: NextHop, nlri: Uint8Array): void {
  w.u16(afi[family]).u8(safiUnicast);
  w.sized8((v) => (hop.linkLocal ? v.address(hop.address).address(hop.linkLocal) : v.address(hop.address)));
  w.u8(0).bytes(nlri);
}

/** UPDATE bodies that withdraw `nlri`, as few as fit. */
export function writeWithdrawals(nlri: Nlri, maxLength: number = lengths.max): Uint8Array[] {
  const room = maxLength - lengths.header - 4 - 8;
  return [...slices(nlri, room)].map((part) => {
    const w = new Writer(part.length + 32);
    if (nlri.family === 4) return w.u16(part.length).bytes(part).u16(0).done();
    const body = (v: Writer) => v.u16(afi[nlri.family]).u8(safiUnicast).bytes(part);
    return w
      .u16(0)
      .sized16((a) => writeAttribute(a, mpUnreach, body))
      .done();
  });
}

/** Cuts a run between prefixes into parts of at most `room` bytes. */
function* slices(nlri: Nlri, room: number): Generator<Uint8Array> {
  const { bytes } = nlri;
  const lead = leadOf(nlri);
  if (room < 17 + lead) throw new RangeError("the attributes leave no room for a prefix");
  let from = 0;
  let at = 0;
  while (at < bytes.length) {
    const next = at + lead + 1 + ((bytes[at + lead]! + 7) >> 3); // checked run
    if (next - from > room) {
      yield bytes.subarray(from, at);
      from = at;
    }
    at = next;
  }
  if (at > from) yield bytes.subarray(from, at);
}
