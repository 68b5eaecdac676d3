import { type Family, type Reader, ShortInput, type Writer } from "@margay/net";
import { afi, capabilityCodes as codes, safiUnicast } from "./code-points.ts";
import { BgpError } from "./error.ts";

/** RFC 4724 §3. `restarting` is the R bit; `families` those whose forwarding state may be preserved (F bit). */
export interface GracefulRestart {
  readonly restarting: boolean;
  readonly restartTimeSeconds: number;
  readonly families: readonly { readonly family: Family; readonly forwarding: boolean }[];
}

/** What an OPEN announces, RFC 5492. Capabilities that we do not know are kept by code for display. */
export interface Capabilities {
  readonly families: readonly Family[];
  readonly as4?: number;
  readonly routeRefresh?: boolean;
  readonly enhancedRouteRefresh?: boolean;
  readonly extendedMessage?: boolean;
  readonly gracefulRestart?: GracefulRestart;
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
  return { restarting: (head & 0x8000) !== 0, restartTimeSeconds: head & 0x0fff, families };
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
  if (c.extendedMessage) w.u8(codes.extendedMessage.code).u8(0);
  if (c.gracefulRestart) writeGracefulRestart(w, c.gracefulRestart);
  if (c.as4 !== undefined) {
    const as4 = c.as4;
    w.u8(codes.as4.code).sized8((v) => v.u32(as4));
  }
  if (c.enhancedRouteRefresh) w.u8(codes.enhancedRouteRefresh.code).u8(0);
}

function writeGracefulRestart(w: Writer, g: GracefulRestart): void {
  w.u8(codes.gracefulRestart.code).sized8((v) => {
    v.u16((g.restarting ? 0x8000 : 0) | (g.restartTimeSeconds & 0x0fff));
    for (const f of g.families)
      v.u16(afi[f.family])
        .u8(safiUnicast)
        .u8(f.forwarding ? 0x80 : 0);
  });
}
