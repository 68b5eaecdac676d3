import {
  type FilterRule,
  isLinkLocal,
  type Policy,
  type PrefixLimit,
  type Role,
  type Source,
} from "@margay/bgp";
import type { Address, Family, Prefix } from "@margay/net";

export { isLinkLocal } from "@margay/bgp";

/** What this node is as a BGP speaker. Parsed; nothing here is text that still has to be understood. */
export interface Self {
  readonly node: string;
  readonly as: number;
  /** BGP Identifier as a number: the IPv4 address, or a hash of the node's name. */
  readonly bgpId: number;
  /** As a number, when the node is a route reflector. */
  readonly clusterId?: number;
  /** The node's own address in each family, with its subnet. */
  readonly addresses: Readonly<
    Partial<Record<Family, { readonly address: Address; readonly subnet: Prefix }>>
  >;
  readonly listenPort: number;
  /** Listen on the node's addresses only. */
  readonly bindNodeAddress: boolean;
  /** Listen on these only. */
  readonly listenAddresses?: readonly Address[];
  /** Metric of kernel routes. */
  readonly metric: Readonly<Record<Family, number>>;
}

/** Filter rules by direction and family, in order. */
export interface Filters {
  readonly import: Readonly<Record<Family, readonly FilterRule[]>>;
  readonly export: Readonly<Record<Family, readonly FilterRule[]>>;
}

/** What few peers need of their session; a change resets it. */
export interface SessionTerms {
  /** What we are to the peer, RFC 9234; `roleRequired`: it must say its own. */
  readonly role?: Role;
  readonly roleRequired?: boolean;
  /** Announce RFC 8950. */
  readonly extendedNextHop?: boolean;
  /** RFC 4271 §8.1.1 DelayOpen. */
  readonly delayOpenSeconds?: number;
  /** RFC 7911: several paths of one prefix in either direction; `sendMax` of them at most, all when absent. */
  readonly addPath?: { readonly receive?: boolean; readonly send?: boolean; readonly sendMax?: number };
}

/** What few peers need of their policy; a change resets nothing. */
export interface PolicyTerms {
  /** Beside filters, and before them on import, after them on export. */
  readonly import?: Policy;
  readonly export?: Policy;
  readonly prefixLimits?: Readonly<Partial<Record<Family, PrefixLimit>>>;
  readonly removePrivateAs?: "remove" | "replace";
  readonly enforceFirstAs?: boolean;
  /** Where `localAs` is not the speaker's own: show that too in what goes out, and `localAs` in what comes in. */
  readonly showBothAses?: boolean;
}

/** One session that should be. Its key is the peer's address, or `%interface` of an unnumbered one. */
export interface WantedPeer {
  /** For people: the node's name, or that of the BGPPeer. */
  readonly name: string;
  readonly type: "mesh" | "node" | "global";
  readonly address: Address;
  readonly port: number;
  readonly localAddress?: Address;
  readonly localAs: number;
  readonly peerAs: number;
  /** TCP-MD5; a change of it alone touches no session. */
  readonly password?: string;
  /** GTSM: the peer is at most so many hops away. */
  readonly ttlSecurityHops?: number;
  /** Only over this interface. */
  readonly device?: string;
  /** Its address is found out: whoever advertises itself as a router on `device`; 0 until then. */
  readonly unnumbered?: boolean;
  /** Never dialled. */
  readonly passive?: boolean;
  /** A pod of this node, which peers with `localAddress`: an address that is the node's for this alone. */
  readonly isLocalWorkload?: boolean;
  /** It came by itself, out of this network. */
  readonly dynamic?: string;
  /** Both when absent. */
  readonly families?: readonly Family[];
  readonly client: boolean;
  readonly nextHop: "auto" | "self" | "keep";
  readonly holdTimeSeconds: number;
  /** Announced to the peer: how long it keeps our routes while we restart (RFC 4724). */
  readonly restartTimeSeconds: number;
  /** Announced to the peer, RFC 9494: how long its routes and ours are kept as a last resort after that. */
  readonly longLivedSeconds?: number;
  readonly connectRetrySeconds?: number;
  /** The peer lies behind this gateway: a host route leads there. */
  readonly reachableBy?: Address;
  readonly allowedLocalAs: number;
  readonly filters?: Filters;
  readonly sessionTerms?: SessionTerms;
  readonly policyTerms?: PolicyTerms;
  /** What of the configuration is not carried out as written; the session is up all the same. */
  readonly warnings?: readonly string[];
  /** Why the session cannot be opened as configured; it stays down. */
  readonly problem?: string;
}

/** The interface towards a next hop that a source named. */
export const deviceTo = (
  hop: Address,
  { device }: Source,
  deviceOf: (nextHop: Address) => string | undefined,
): string | undefined => (isLinkLocal(hop) ? device : undefined) ?? deviceOf(hop);

/** Peers that are not known before they connect: all of a network, up to a number. */
export interface ListenRange {
  readonly range: Prefix;
  readonly limit: number;
  /** What each of them is, but for its address. */
  readonly template: Omit<WantedPeer, "address" | "passive">;
}
