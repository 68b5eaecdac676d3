import type { Address } from "@margay/net";
import type { AsPath } from "./as-path.ts";

/** ORIGIN values in order of preference, RFC 4271 §5.1.1. */
export const origins = ["igp", "egp", "incomplete"] as const;
export type Origin = (typeof origins)[number];

/** RFC 2545 §3: an IPv6 next hop may name the link-local address beside the global one. */
export interface NextHop {
  readonly address: Address;
  readonly linkLocal?: Address;
}

/** fe80::/10: means something on one interface only. */
export const isLinkLocal = ({ family, bits }: Address): boolean => family === 6 && bits >> 118n === 0x3fan;

export type LargeCommunity = readonly [global: number, local1: number, local2: number];

/** An attribute that we do not know and must pass on: optional transitive, RFC 4271 §5. */
export interface UnknownAttribute {
  readonly type: number;
  readonly value: Uint8Array;
}

/**
 * The path attributes of a route, RFC 4271 §5. Immutable and interned: two routes received with the same bytes
 * share one object, so that identity means equality. `nextHop` is absent on a route that we originate.
 */
export interface Attributes {
  readonly origin: Origin;
  readonly asPath: AsPath;
  readonly nextHop?: NextHop;
  readonly med?: number;
  readonly localPref?: number;
  readonly atomicAggregate?: true;
  readonly aggregator?: { readonly as: number; readonly address: Address };
  readonly communities?: readonly number[];
  readonly extendedCommunities?: readonly bigint[];
  readonly largeCommunities?: readonly LargeCommunity[];
  readonly originatorId?: number;
  readonly clusterList?: readonly number[];
  /** RFC 9234 §5: the AS that said: downwards only. */
  readonly onlyToCustomer?: number;
  /** Metric of the route in the kernel, as a filter set it. Ours alone: never on the wire. */
  readonly priority?: number;
  readonly unknown?: readonly UnknownAttribute[];
}
