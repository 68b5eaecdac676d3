import { Reader, Writer } from "@margay/net";
import { type Capabilities, readCapabilities, writeCapabilities } from "./capabilities.ts";
import { AS_TRANS } from "./code-points.ts";
import { BgpError } from "./error.ts";

/** OPEN, RFC 4271 §4.2. `as` is the four-octet AS where announced; `bgpId` the BGP Identifier as a number. */
export interface Open {
  readonly kind: "open";
  readonly as: number;
  readonly holdTimeSeconds: number;
  readonly bgpId: number;
  readonly capabilities: Capabilities;
}

const parameterCapabilities = 2; // RFC 5492 §4
const extendedMark = 255; // RFC 9072 §2: a first type of 255 means two-byte lengths; the old length only must not be 0

/** OPEN body; errors per RFC 4271 §6.2. */
export function readOpen(r: Reader): Open {
  const version = r.u8();
  if (version !== 4)
    throw new BgpError("unsupported-version", { data: Uint8Array.of(0, 4), detail: `${version}` });
  const as2 = r.u16();
  const holdTimeSeconds = r.u16();
  const bgpId = r.u32();
  if (holdTimeSeconds === 1 || holdTimeSeconds === 2)
    throw new BgpError("unacceptable-hold-time", { detail: `${holdTimeSeconds} s` });
  if (bgpId === 0) throw new BgpError("bad-bgp-identifier", { detail: "0.0.0.0" });
  const capabilities = readParameters(r);
  const as = capabilities.as4 ?? as2;
  if (as2 === 0 || as === 0) throw new BgpError("bad-peer-as", { detail: "AS 0 (RFC 7607)" });
  return { kind: "open", as, holdTimeSeconds, bgpId, capabilities };
}

function readParameters(r: Reader): Capabilities {
  const capabilities = { families: [] };
  const shortLength = r.u8();
  const parameters = r.rest();
  const extended = shortLength !== 0 && parameters[0] === extendedMark;
  const p = new Reader(extended ? parameters.subarray(1) : parameters);
  const length = extended ? p.u16() : shortLength;
  if (length !== p.left)
    throw new BgpError("open-unspecific", { detail: "optional parameters and message disagree" });
  while (p.left > 0) {
    const type = p.u8();
    const value = p.window(extended ? p.u16() : p.u8());
    if (type !== parameterCapabilities)
      throw new BgpError("unsupported-optional-parameter", { detail: `type ${type}` });
    readCapabilities(value, capabilities);
  }
  // RFC 4760 §8: without the capability a speaker means IPv4 unicast.
  return capabilities.families.length === 0 ? { ...capabilities, families: [4] } : capabilities;
}

/**
 * OPEN body. RFC 6793 §4.1: AS_TRANS stands in the two-octet field for an AS that does not fit. RFC 9072 §2: the
 * extended form only when the short one is too small.
 */
export function writeOpen(o: Open): Uint8Array {
  const w = new Writer(64);
  w.u8(4)
    .u16(o.as > 0xffff ? AS_TRANS : o.as)
    .u16(o.holdTimeSeconds)
    .u32(o.bgpId);
  const parameters = new Writer(64);
  writeCapabilities(parameters, o.capabilities);
  if (parameters.length === 0) return w.u8(0).done();
  if (parameters.length > 253)
    return w
      .u8(extendedMark)
      .u8(extendedMark)
      .sized16((p) => p.u8(parameterCapabilities).sized16((v) => v.bytes(parameters.done())))
      .done();
  return w.sized8((p) => p.u8(parameterCapabilities).sized8((v) => v.bytes(parameters.done()))).done();
}
