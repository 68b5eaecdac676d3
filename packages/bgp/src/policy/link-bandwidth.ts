import type { Attributes } from "../wire/attributes.ts";

/** Type and sub-type, with the transitive bit (RFC 4360 §2) and, as FRR sends it, without. */
const linkBandwidthTypes: ReadonlySet<bigint> = new Set([0x4004n, 0x0004n]);

/**
 * Bytes a second of the link that the route came in by, from its link bandwidth extended community
 * (draft-ietf-idr-link-bandwidth §3: type, AS in two octets, IEEE 754 in four); undefined when there is none, or no such number.
 */
export function linkBandwidth({ extendedCommunities = [] }: Attributes): number | undefined {
  const found = extendedCommunities.find((c) => linkBandwidthTypes.has(c >> 48n));
  if (found === undefined) return undefined;
  const bits = new DataView(new ArrayBuffer(4));
  bits.setUint32(0, Number(found & 0xffff_ffffn));
  const bytes = bits.getFloat32(0);
  return Number.isFinite(bytes) && bytes > 0 ? bytes : undefined;
}
