import { type Family, type Reader, ShortInput, type Writer } from "@margay/net";
import { afi, capabilityCodes as codes, safiUnicast } from "./code-points.ts";
import { BgpError } from "./error.ts";

/**
 * RFC 4724 §3. `restarting` is the R bit; `families` those whose forwarding state may be preserved (F bit);
 * `notification` the N bit: routes survive a NOTIFICATION too (RFC 8538 §2).
 */
export interface GracefulRestart {
  readonly restarting: boolean;
  readonly notification?: true;
  readonly restartTimeSeconds: number;
  readonly families: readonly { readonly family: Family; readonly forwarding: boolean }[];
}

/** RFC 9494 §3.1: how long routes of a family may be kept as a last resort. 24 bits of seconds. */
export interface LongLived {
  readonly family: Family;
  readonly forwarding: boolean;
  readonly staleTimeSeconds: number;
}

/** RFC 7911 §4: in which directions the speaker can have several paths of one prefix. */
export interface AddPath {
  readonly family: Family;
  readonly receive: boolean;
  readonly send: boolean;
}

/** What a speaker is to the other side, in code order. RFC 9234 §4.1. */
export const roles = ["provider", "rs", "rs-client", "customer", "peer"] as const;
export type Role = (typeof roles)[number];

/** What an OPEN announces, RFC 5492. Capabilities that we do not know are kept by code for display. */
export interface Capabilities {
  readonly families: readonly Family[];
  readonly as4?: number;
  readonly routeRefresh?: boolean;
  readonly enhancedRouteRefresh?: boolean;
  readonly extendedMessage?: boolean;
  readonly gracefulRestart?: GracefulRestart;
  /** RFC 8950: IPv4 routes may have an IPv6 next hop. */
  readonly extendedNextHop?: boolean;
  readonly role?: Role;
  readonly longLived?: readonly LongLived[];
  readonly addPath?: readonly AddPath[];
  readonly unknown?: readonly number[];
}

type Draft = { -readonly [K in keyof Capabilities]: Capabilities[K] };

/** Reads the TLVs of one Capabilities optional parameter into `into`. */
export function readCapabilities(r: Reader, into: Draft): void {
  while (r.left > 0) {
    const code = r.u8();
    const value = r.window(r.u8());
    try {
      readOne(code, value, into);
    } catch (cause) {
      if (!(cause instanceof ShortInput)) throw cause;
      throw new BgpError("open-unspecific", { detail: `capability ${code} is too short`, cause });
    }
  }
}

function readOne(code: number, r: Reader, into: Draft): void {
  switch (code) {
    case codes.multiprotocol.code: {
      const family = readFamily(r.u16(), r.u16() & 0xff); // the byte before the SAFI is reserved
      if (family && !into.families.includes(family)) into.families = [...into.families, family];
      return;
    }
    case codes.routeRefresh.code:
      into.routeRefresh = true;
      return;
    case codes.enhancedRouteRefresh.code:
      into.enhancedRouteRefresh = true;
      return;
    case codes.extendedMessage.code:
      into.extendedMessage = true;
      return;
    case codes.as4.code:
      into.as4 = r.u32();
      return;
    case codes.gracefulRestart.code:
      into.gracefulRestart = readGracefulRestart(r);
      return;
    case codes.extendedNextHop.code:
      if (readExtendedNextHop(r)) into.extendedNextHop = true;
      return;
    case codes.role.code:
      readRole(r, into);
      return;
    case codes.longLived.code:
      into.longLived = readLongLived(r);
      return;
    case codes.addPath.code:
      readAddPath(r, into);
      return;
    default:
      into.unknown = [...(into.unknown ?? []), code];
  }
}

/** | R 0 0 0 | restart time 12 bits |, then AFI 2, SAFI 1, flags 1 (F is the top bit) for each family. */
function readGracefulRestart(r: Reader): GracefulRestart {
  const head = r.u16();
  const families: { family: Family; forwarding: boolean }[] = [];
  while (r.left >= 4) {
    const family = readFamily(r.u16(), r.u8());
    const forwarding = (r.u8() & 0x80) !== 0;
    if (family) families.push({ family, forwarding });
  }
  const notification = (head & 0x4000) !== 0 ? { notification: true as const } : {};
  return { restarting: (head & 0x8000) !== 0, ...notification, restartTimeSeconds: head & 0x0fff, families };
}

/** RFC 8950 §4: | AFI 2 | SAFI 2 | next hop AFI 2 | each; we look for IPv4 unicast by way of IPv6. */
function readExtendedNextHop(r: Reader): boolean {
  let found = false;
  while (r.left > 0) {
    const family = readFamily(r.u16(), r.u16());
    found = (r.u16() === afi[6] && family === 4) || found;
  }
  return found;
}

/** RFC 9234 §4.2: given twice with different values is a mismatch; an unknown value too. */
function readRole(r: Reader, into: Draft): void {
  const code = r.u8();
  const role = roles[code];
  if (!role || (into.role && into.role !== role))
    throw new BgpError("role-mismatch", { detail: role ? `${into.role} and ${role}` : `role ${code}` });
  into.role = role;
}

/** RFC 9494 §3.1: | AFI 2 | SAFI 1 | flags 1, F on top | stale time 3 | each. */
function readLongLived(r: Reader): LongLived[] {
  const out: LongLived[] = [];
  while (r.left >= 7) {
    const family = readFamily(r.u16(), r.u8());
    const forwarding = (r.u8() & 0x80) !== 0;
    const staleTimeSeconds = r.u8() * 65536 + r.u16();
    if (family) out.push({ family, forwarding, staleTimeSeconds });
  }
  return out;
}

/** RFC 7911 §4: | AFI 2 | SAFI 1 | send/receive 1 | each: 1 receive, 2 send, 3 both; any other value is ignored. */
function readAddPath(r: Reader, into: Draft): void {
  const out: AddPath[] = [];
  while (r.left >= 4) {
    const family = readFamily(r.u16(), r.u8());
    const code = r.u8();
    if (family && code >= 1 && code <= 3) out.push({ family, receive: code !== 2, send: code !== 1 });
  }
  if (out.length > 0) into.addPath = out;
}

/** Our family of an AFI/SAFI pair, or undefined: families that we do not carry are skipped. */
export function readFamily(afiCode: number, safi: number): Family | undefined {
  if (safi !== safiUnicast) return undefined;
  return afiCode === afi[4] ? 4 : afiCode === afi[6] ? 6 : undefined;
}

/** Writes one capability TLV each, inside one optional parameter (RFC 5492 §4). */
export function writeCapabilities(w: Writer, c: Capabilities): void {
  for (const family of c.families)
    w.u8(codes.multiprotocol.code).sized8((v) => v.u16(afi[family]).u8(0).u8(safiUnicast));
  if (c.routeRefresh) w.u8(codes.routeRefresh.code).u8(0);
  if (c.extendedNextHop)
    w.u8(codes.extendedNextHop.code).sized8((v) => v.u16(afi[4]).u16(safiUnicast).u16(afi[6]));
  if (c.extendedMessage) w.u8(codes.extendedMessage.code).u8(0);
  const { role } = c;
  if (role) w.u8(codes.role.code).sized8((v) => v.u8(roles.indexOf(role)));
  if (c.gracefulRestart) writeGracefulRestart(w, c.gracefulRestart);
  if (c.as4 !== undefined) {
    const as4 = c.as4;
    w.u8(codes.as4.code).sized8((v) => v.u32(as4));
  }
  if (c.enhancedRouteRefresh) w.u8(codes.enhancedRouteRefresh.code).u8(0);
  if (c.longLived) writeLongLived(w, c.longLived);
  const addPath = c.addPath?.filter(({ receive, send }) => receive || send) ?? [];
  if (addPath.length > 0) writeAddPath(w, addPath);
}

function writeAddPath(w: Writer, families: readonly AddPath[]): void {
  w.u8(codes.addPath.code).sized8((v) => {
    for (const { family, receive, send } of families)
      v.u16(afi[family])
        .u8(safiUnicast)
        .u8((receive ? 1 : 0) | (send ? 2 : 0));
  });
}

function writeLongLived(w: Writer, families: readonly LongLived[]): void {
  w.u8(codes.longLived.code).sized8((v) => {
    for (const f of families) {
      const seconds = Math.min(f.staleTimeSeconds, 0xffffff);
      v.u16(afi[f.family]).u8(safiUnicast);
      v.u8(f.forwarding ? 0x80 : 0);
      v.u8(seconds >> 16).u16(seconds & 0xffff);
    }
  });
}

function writeGracefulRestart(w: Writer, g: GracefulRestart): void {
  w.u8(codes.gracefulRestart.code).sized8((v) => {
    v.u16((g.restarting ? 0x8000 : 0) | (g.notification ? 0x4000 : 0) | (g.restartTimeSeconds & 0x0fff));
    for (const f of g.families)
      v.u16(afi[f.family])
        .u8(safiUnicast)
        .u8(f.forwarding ? 0x80 : 0);
  });
}
