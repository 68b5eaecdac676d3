import type { Address } from "@margay/net";
import { type Attributes, isLinkLocal } from "../wire/attributes.ts";

/** Where routes come from: a peer, or ourselves. One object per session or originator; compared by identity. */
export interface Source {
  readonly kind: "local" | "ebgp" | "ibgp";
  /** For people: `"n2"`, `"172.20.0.2"`, `"local"`. */
  readonly name: string;
  readonly as: number;
  /** BGP Identifier as a number. */
  readonly bgpId: number;
  readonly address: Address;
  /** A route reflection client of ours, RFC 4456 §4. */
  readonly client: boolean;
  /** Nobody but us has a way to the next hops of its routes: a pod of this node. */
  readonly isBehindUs?: boolean;
  /** The interface that link-local next hops of its routes are on. */
  readonly device?: string;
}

/** What tells next hops apart: the address, and of a link-local one the interface too. */
export const hopKey = (hop: Address | undefined, { device }: Source): bigint | string | undefined =>
  hop && device !== undefined && isLinkLocal(hop) ? `${hop.bits}%${device}` : hop?.bits;

/**
 * What a source says of all prefixes that it announced with these attributes. Immutable and shared by them, so that a
 * RIB holds one reference for each prefix; identity tells whether an announcement says something new.
 */
export interface Route {
  readonly source: Source;
  /** As the peer sent it; import policy can run again on it at any time. */
  readonly received: Attributes;
  /** After import policy; absent if it refused. */
  readonly attributes?: Attributes;
  /** Why import policy refused. */
  readonly refused?: string;
}

/** With its attributes as objects, for those who look at all of them: a learned route decodes what it is asked for. */
export function materialised({ source, received, attributes, refused }: Route): Route {
  return {
    source,
    received,
    ...(attributes ? { attributes } : {}),
    ...(refused === undefined ? {} : { refused }),
  };
}

/** A route of one prefix, with what became of it: for people, made when they ask. */
export interface Path extends Route {
  /** As received, where the session has path identifiers (RFC 7911 §3). */
  readonly pathId?: number;
  /** Kept from a peer that restarts, RFC 4724 §4.2. */
  readonly stale: boolean;
  readonly best: boolean;
  /** The best one, or equal to it up to step 8 and by another next hop: one of those that ECMP may use. */
  readonly equal: boolean;
  /** The decision step at which it lost to another path, or undefined for the best one. */
  readonly lost?: DecisionStep;
}

/** The steps of the decision process, in order. A path is shown with the step that eliminated it. */
export const decisionSteps = {
  "next-hop": { number: 0, rfc: "RFC 4271 §9.1.2.1", text: "its next hop is not reachable" },
  "long-lived-stale": { number: 1, rfc: "RFC 9494 §4.3", text: "long-lived stale: the last resort" },
  // §9.1.1 leaves open how a route of one's own is preferred: before all that others say of theirs, as with BIRD and FRR
  "locally-originated": {
    number: 2,
    rfc: "RFC 4271 §9.1.1",
    text: "learned, while another is originated here",
  },
  "local-pref": { number: 3, rfc: "RFC 4271 §9.1.1", text: "lower LOCAL_PREF" },
  "as-path": { number: 4, rfc: "RFC 4271 §9.1.2.2 a", text: "longer AS_PATH" },
  origin: { number: 5, rfc: "RFC 4271 §9.1.2.2 b", text: "higher ORIGIN" },
  med: {
    number: 6,
    rfc: "RFC 4271 §9.1.2.2 c",
    text: "higher MULTI_EXIT_DISC from the same neighbouring AS",
  },
  "ebgp-over-ibgp": { number: 7, rfc: "RFC 4271 §9.1.2.2 d", text: "learned by iBGP, another by eBGP" },
  "igp-cost": { number: 8, rfc: "RFC 4271 §9.1.2.2 e", text: "higher cost to the next hop" },
  "bgp-identifier": { number: 9, rfc: "RFC 4271 §9.1.2.2 f", text: "higher BGP Identifier or ORIGINATOR_ID" },
  "cluster-list": { number: 10, rfc: "RFC 4456 §9", text: "longer CLUSTER_LIST" },
  "peer-address": { number: 11, rfc: "RFC 4271 §9.1.2.2 g", text: "higher peer address" },
  "same-peer": { number: 12, rfc: "RFC 7911 §3", text: "another path of the same peer came first" },
} as const;

export type DecisionStep = keyof typeof decisionSteps;
