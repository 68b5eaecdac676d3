/** UPDATE messages as we send them, RFC 4271 §4.3 and RFC 4760; a full table goes out through `rib/packer.ts`. */
import { type Family, Writer } from "@margay/net";
import { writeAttribute, writeAttributes } from "./attribute-codec.ts";
import { type AttributeContext, mpReach, mpUnreach } from "./attribute-table.ts";
import type { NextHop } from "./attributes.ts";
import { afi, lengths, safiUnicast } from "./code-points.ts";
import { leadOf, type Nlri } from "./nlri.ts";
import type { Announcement } from "./update.ts";

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
