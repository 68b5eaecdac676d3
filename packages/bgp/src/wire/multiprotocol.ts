/** MP_REACH_NLRI and MP_UNREACH_NLRI as they come, RFC 4760, with the outcomes of RFC 7606. */
import { type Address, type Family, Reader, ShortInput } from "@margay/net";
import { attributeBytes, type Problem, type RawAttribute } from "./attribute-codec.ts";
import { mpUnreach } from "./attribute-table.ts";
import type { NextHop } from "./attributes.ts";
import { readFamily } from "./capabilities.ts";
import { flags } from "./code-points.ts";
import { BgpError } from "./error.ts";
import { type Nlri, nlriOf } from "./nlri.ts";
import type { UpdateContext } from "./update.ts";

/** What MP_REACH says; `why` it can be no more than withdrawn. */
export type Reach = { nlri: Nlri } & ({ nextHop: NextHop } | { nextHop?: undefined; why: string });

/** | AFI 2 | SAFI 1 | next hop length 1 | next hop | reserved 1 | NLRI |; undefined for a family not ours. */
export function readReach(attribute: RawAttribute, ctx: UpdateContext): Reach | undefined {
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
export function readUnreach(
  attribute: RawAttribute,
  ctx: UpdateContext,
  problems: Problem[],
): Nlri | undefined {
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
