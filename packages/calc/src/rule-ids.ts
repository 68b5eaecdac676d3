import { shortened } from "@margay/api";
import type { Direction } from "./model.ts";

/**
 * Ids of the decisions that no policy rule makes. The evaluator and every backend name a decision alike, so that a
 * counter in the kernel and a step of `explain` can be put side by side. None is longer than the kernel can hold in a
 * comment (231 characters, as both backends count): an id that they had to cut would be nobody's.
 */
export const ruleIds = {
  /** The interface bears the workload prefix but belongs to no endpoint known here. */
  unknownInterface: "workload/unknown-interface",
  /** The endpoint lacks something it needs, such as a profile. */
  unresolved: "workload/unresolved",
  /** The source is none of the workload's addresses. */
  spoofedAddress: "workload/spoofed-address",
  spoofedMac: "workload/spoofed-mac",
  /** More packets a second than the workload may receive, or send. */
  packetRate: "workload/packet-rate",
  /** More TCP connections than the workload may have. */
  connectionLimit: "workload/connection-limit",
  /** Might be decapsulated by a node as if it came from another. */
  vxlanFromWorkload: "workload/vxlan",
  /** UDP to a node's VXLAN port, from what is no node's address. */
  vxlanFromOutside: "host/vxlan",
  /** What a workload sends to itself by way of a Service: no policy can forbid that (Kubernetes, "Network Policies"). */
  toItself: "workload/to-itself",
  /** The way back to the source does not lead to the interface it came from. */
  reversePath: "workload/reverse-path",
  /** A connection that a later policy denied. */
  cut: "conntrack/cut",
  established: "conntrack/established",
  invalid: "conntrack/invalid",
  /** Allowed by every workload concerned. */
  forwarded: "workload/forwarded",
  /** A port that host endpoints leave open: `failsafe/in/tcp/22`. */
  failsafe: (direction: Direction, protocol: string, port: number): string =>
    `failsafe/${short[direction]}/${protocol.toLowerCase()}/${port}`,
  /** The answer to what a failsafe port let through, before connection tracking. */
  failsafeAnswer: "failsafe/answer",
  /** Without it no IPv6 packet finds its next hop, to a failsafe port or any other. */
  failsafeNeighbours: "failsafe/neighbour-discovery",
  /** Allowed by a policy that is asked before this one (`doNotTrack`, `preDNAT`). */
  allowedBefore: "host/allowed-before",
  /** No policy of the host endpoint is for what the node forwards. */
  hostForward: "host/forward/no-policy",
  neighbourDiscovery: "workload-to-host/neighbour-discovery",
  workloadToHost: "workload-to-host/default",
  hostToWorkload: "host-to-workload/allow",
  /** An answer of a DNS server to a workload, shown to the agent for the addresses of domains in it. */
  dnsAnswer: "dns/answer",
  natOutgoing: "nat-outgoing",
  /** To a service address that is announced and that nobody translated. */
  serviceLoop: "service-loop",
  /** FelixConfiguration ipv6Support is false. */
  ipv6Off: "workload/ipv6-off",
  /** No rule of the tier's policies matched. */
  tierDefault: (tier: string, direction: Direction): string =>
    `tier/${named(tier)}/${short[direction]}/default`,
  /** No tier and no profile decided. */
  noMatch: (direction: Direction): string => `profiles/${short[direction]}/no-match`,
  /** The rule at `place` (0 is the first) of a policy. */
  policyRule: (policy: string, direction: Direction, place: number): string =>
    `${named(policy)}/${short[direction]}/${place}`,
} as const;

const short = { ingress: "in", egress: "out" } as const;

/** Leaves room for what stands around it. */
const LONGEST_NAME = 210;
const named = (name: string): string => shortened(name, LONGEST_NAME);
