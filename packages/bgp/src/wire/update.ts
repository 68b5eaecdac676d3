import { type Family, Reader, Writer } from "@margay/net";
import {
  attributeBytes,
  type Problem,
  type RawAttribute,
  readAttributes,
  splitAttributes,
} from "./attribute-codec.ts";
import { AttributeList } from "./attribute-list.ts";
import { type AttributeContext, mpReach, mpUnreach } from "./attribute-table.ts";
import type { Attributes, NextHop } from "./attributes.ts";
import { readFamily } from "./capabilities.ts";
import { BgpError } from "./error.ts";
import { readReach, readUnreach } from "./multiprotocol.ts";
import { type Nlri, nlriOf } from "./nlri.ts";
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
export function readUpdate(body: Uint8Array, ctx: UpdateContext): Update {
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

/** RFC 4724 §2: an empty UPDATE for IPv4, an empty MP_UNREACH alone for the others. */
function endOfRib(raw: readonly RawAttribute[], unreach: RawAttribute | undefined): { endOfRib?: Family } {
  if (raw.length === 0) return { endOfRib: 4 };
  if (raw.length !== 1 || unreach?.value.length !== 3) return {};
  const r = new Reader(unreach.value);
  const family = readFamily(r.u16(), r.u8());
  return family ? { endOfRib: family } : {};
}
