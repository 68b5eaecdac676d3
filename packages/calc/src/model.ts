import type { Address, Family, Prefix } from "@margay/net";

/**
 * The neutral model: what one node must enforce, in words that every dataplane backend and the reference evaluator
 * understand. It knows neither chains nor kernel sets.
 */
export type Direction = "ingress" | "egress";

/** `pass` leaves the tier, `log` goes on with the next rule. */
export type Action = "allow" | "deny" | "pass" | "log";

/** Ports `first` to `last`, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What one end of a packet must be: every list that is not empty has to hold. */
export interface EntityMatch {
  /** In any of these networks. */
  readonly nets: readonly Prefix[];
  /** In none of these. */
  readonly notNets: readonly Prefix[];
  /** Member of every one of these `net` sets. */
  readonly sets: readonly string[];
  /** Member of none of these `net` sets. */
  readonly notSets: readonly string[];
  /** The port lies in any range of `ports`, or address, protocol and port are in any `ip-port` set of `namedPorts`. */
  readonly ports: readonly PortRange[];
  readonly namedPorts: readonly string[];
  /** None of these ports, and in none of these `ip-port` sets. */
  readonly notPorts: readonly PortRange[];
  readonly notNamedPorts: readonly string[];
}

/** ICMP or ICMPv6, as the rule's protocol says. */
export interface IcmpMatch {
  readonly type: number;
  readonly code?: number;
}

export interface CompiledRule {
  /** Stable: `<policy id>/<in|out>/<place>`; logs, counters and `explain` name it. */
  readonly id: string;
  readonly action: Action;
  readonly ipVersion?: Family;
  /** IANA protocol number. */
  readonly protocol?: number;
  readonly notProtocol?: number;
  readonly icmp?: IcmpMatch;
  readonly notIcmp?: IcmpMatch;
  readonly source: EntityMatch;
  readonly destination: EntityMatch;
}

/** A policy or profile, ready to evaluate. Shared by all endpoints it applies to. */
export interface CompiledPolicy {
  /** `np/<namespace>/<name>`, `gnp/<name>` or `profile/<name>`; `staged/` before it for one that is never enforced. */
  readonly id: string;
  readonly ingress: readonly CompiledRule[];
  readonly egress: readonly CompiledRule[];
  /** Absent: a profile, or a policy that cannot be read. */
  readonly tier?: string;
  /** The datastore revision it was compiled from. */
  readonly revision?: string;
  /** Why it could not be compiled; its rules then deny everything. */
  readonly problem?: string;
  /** What of it was written for a former version, and is in force as it was there. */
  readonly outdated?: string;
  /** Its rules count what they match, and decide nothing. */
  readonly isStaged?: true;
}

/** The policies of one tier that select an endpoint in one direction, in order. */
export interface TierPolicies {
  readonly tier: string;
  /** What happens to a packet that no rule of these policies matched. */
  readonly defaultAction: "deny" | "pass";
  /** Keys of `NodeState.policies`. */
  readonly policies: readonly string[];
}

export interface PacketRate {
  readonly perSecond: number;
  /** Packets at once. */
  readonly burst: number;
}

/** An address that stands for an endpoint outside, one to one. */
export interface FloatingAddress {
  readonly external: Address;
  readonly internal: Address;
}

export interface LocalEndpoint {
  /** `<namespace>/<name>` of the WorkloadEndpoint. */
  readonly id: string;
  readonly interfaceName: string;
  readonly addresses: readonly Address[];
  /** The workload's own MAC, lower case with colons; unknown: not checked. */
  readonly mac?: string;
  /** Networks it may send from besides its own addresses. */
  readonly spoofable: readonly Prefix[];
  /** Packets a second that it may receive and send; what is beyond is dropped, whatever policy says. */
  readonly packetRate?: Readonly<Partial<Record<Direction, PacketRate>>>;
  /** TCP connections that it may have, those to it and those from it; a new one beyond is refused, whatever policy says. */
  readonly connectionLimit?: Readonly<Partial<Record<Direction, number>>>;
  /** Code point of what it sends to anywhere but pools and nodes. */
  readonly dscp?: number;
  /** What it has of the floating addresses that it asks for; and those that another endpoint asked for before. */
  readonly floating?: readonly FloatingAddress[];
  readonly floatingTaken?: readonly { readonly external: Address; readonly by: string }[];
  /** Tiers that hold a policy for it, in order. */
  readonly ingress: readonly TierPolicies[];
  readonly egress: readonly TierPolicies[];
  /** The tiers as they would be if staged policies were enforced; absent where that is no difference. */
  readonly staged?: Readonly<Record<Direction, readonly TierPolicies[]>>;
  /** Keys of `NodeState.profiles`, evaluated after the last tier, in order. */
  readonly profiles: readonly string[];
  /** False: something it needs could not be resolved, and all its traffic is dropped. */
  readonly ok: boolean;
}

/** Policies of a host endpoint by where they are asked (calico.md §4.4 rule 5). */
export interface HostTiers {
  /** What the node itself receives and sends; profiles come after. */
  readonly normal: Readonly<Record<Direction, readonly TierPolicies[]>>;
  /** What it forwards (`applyOnForward`); without a policy all passes. */
  readonly forward: Readonly<Record<Direction, readonly TierPolicies[]>>;
  /** Before connection tracking (`doNotTrack`), and before destination NAT. No tier denies by default. */
  readonly untracked: Readonly<Record<Direction, readonly TierPolicies[]>>;
  readonly preDnat: Readonly<Record<Direction, readonly TierPolicies[]>>;
}

export type HostStage = keyof HostTiers;
/** Nothing is staged for the stages before these. */
export type StagedHostTiers = Pick<HostTiers, "normal" | "forward">;

/** An interface of the node itself. */
export interface LocalHostEndpoint extends HostTiers {
  /** `hep:<name>` of the HostEndpoint. */
  readonly id: string;
  /** `*`: every interface that is neither a workload's, nor named by another, nor the loopback. */
  readonly interfaceName: string;
  /** As they would be if staged policies were enforced; absent where that is no difference. */
  readonly staged?: StagedHostTiers;
  readonly profiles: readonly string[];
  /** False: something it needs could not be resolved; all is dropped but failsafe ports of the node itself. */
  readonly ok: boolean;
}

/** Addresses that a selector stands for, cluster-wide, as text of each family. */
export interface NeutralSet {
  /** `net`: `10.0.0.1` or `10.0.0.0/8`. `ip-port`: `10.0.0.1,tcp:80`. */
  readonly kind: "net" | "ip-port";
  /** What it stands for, for people. */
  readonly about: string;
  readonly members: Readonly<Record<Family, ReadonlySet<string>>>;
}

export interface Pool {
  readonly name: string;
  readonly cidr: Prefix;
  readonly natOutgoing: boolean;
  readonly vxlanMode: "Never" | "Always" | "CrossSubnet";
}

export interface Host {
  readonly name: string;
  readonly addresses: readonly Address[];
}

/** DNS servers whose answers tell the addresses of domains: any of the networks, or a member of any of the `net` sets. */
export interface Resolvers {
  readonly nets: readonly Prefix[];
  readonly sets: readonly string[];
}

/** Something that could not be resolved and is closed for that reason, or is in force otherwise than it reads. */
export interface Problem {
  /** A policy's, profile's, endpoint's or pool's id. */
  readonly subject: string;
  readonly why: string;
  readonly isInForce?: true;
}
