import { type NodeState, ruleIds, usesVxlan } from "@margay/calc";
import type { Hook, Rule } from "@margay/iptables";
import { type Family, hostPrefix } from "@margay/net";
import { hex, type RenderConfig } from "./config.ts";
import type { HostJumps } from "./host-endpoint.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

/**
 * The path of a packet through our chains, by kernel hook:
 *
 *     raw PREROUTING    margay-prerouting     reverse path (`reverse-path.ts`)
 *     raw OUTPUT        margay-raw-output     only with host endpoints, as all of `host-endpoint.ts`
 *     mangle PREROUTING margay-pre-dnat       the same
 *     mangle FORWARD    margay-dscp           only with endpoints that ask for a code point
 *     filter FORWARD    margay-forward        cut connections, VXLAN of workloads, from workload, to workload, then allowed
 *     filter INPUT      margay-input          cut connections, forged VXLAN, from workload, then defaultEndpointToHostAction
 *     filter OUTPUT     margay-output         the host reaches its own workloads
 *     nat PREROUTING, OUTPUT  margay-floating only with floating addresses
 *     mangle POSTROUTING margay-dns-answers   only with rules that name domains
 *     nat POSTROUTING   margay-nat-outgoing   source of who has a floating address, masquerade
 */
export function hooks(
  { felix }: RenderConfig,
  chains: ReadonlyMap<string, unknown>,
): ReadonlyMap<string, Hook> {
  const all = HOOKS.filter(({ table, chain }) => chains.has(`${table}/${chain}`));
  const isFirst = felix.chainInsertMode === "Insert";
  return new Map(
    all.map(({ table, builtin, chain }) => {
      const rules = [{ match: [], target: ["-j", chain] }];
      return [`${table}/${builtin}`, isFirst ? { rules } : { rules: [], append: rules }];
    }),
  );
}

const HOOKS = [
  { table: "raw", builtin: "PREROUTING", chain: names.chains.prerouting },
  { table: "raw", builtin: "OUTPUT", chain: names.chains.rawOutput },
  { table: "mangle", builtin: "PREROUTING", chain: names.chains.preDnat },
  { table: "mangle", builtin: "FORWARD", chain: names.chains.dscp },
  { table: "mangle", builtin: "POSTROUTING", chain: names.chains.dnsAnswers },
  { table: "filter", builtin: "FORWARD", chain: names.chains.forward },
  { table: "filter", builtin: "INPUT", chain: names.chains.input },
  { table: "filter", builtin: "OUTPUT", chain: names.chains.output },
  { table: "nat", builtin: "PREROUTING", chain: names.chains.floating },
  { table: "nat", builtin: "OUTPUT", chain: names.chains.floating },
  { table: "nat", builtin: "POSTROUTING", chain: names.chains.natOutgoing },
] as const;

/** One rule for each pattern of workload interfaces. */
const each = (config: RenderConfig, rule: (pattern: string) => Rule): Rule[] => config.interfaces.map(rule);

/** Rules of the fixed chains that depend on more than the settings. */
export interface FixedRules {
  readonly loops: readonly Rule[];
  readonly hosts: HostJumps;
  readonly vxlan: VxlanRules;
}

/** What does not come from or go to a workload is none of our business and returns. */
export const forwardRules = (config: RenderConfig, { loops, hosts, vxlan }: FixedRules): readonly Rule[] => [
  ...cutRules(config, ["-i", "-o"]),
  ...vxlan.forward,
  ...hosts.forwardIn,
  ...each(config, (name) => ({ match: ["-i", name], target: ["-j", names.chains.fromWorkload] })),
  ...each(config, (name) => ({ match: ["-o", name], target: ["-j", names.chains.toWorkload] })),
  ...hosts.forwardOut,
  ...loops,
  ...each(config, (name) => ({ match: ["-i", name], target: config.allow, id: ruleIds.forwarded })),
  ...each(config, (name) => ({ match: ["-o", name], target: config.allow, id: ruleIds.forwarded })),
];

/**
 * A service address that is still there when the packet is forwarded is nobody's: the router that we announce the range to
 * would send it back (calico.md §4.5, `cali-cidr-block`).
 */
export function serviceLoopRules(
  { services }: NodeState,
  { felix }: RenderConfig,
  { family, sets }: { family: Family; sets: SetRefs },
): readonly Rule[] {
  const ours = services.filter((range) => range.family === family);
  if (ours.length === 0 || felix.serviceLoopPrevention === "Disabled") return [];
  const set = sets.named(names.sets.services(family), ours, family);
  const match = ["-m", "set", "--match-set", set, "dst"];
  return [{ match, target: ["-j", felix.serviceLoopPrevention.toUpperCase()], id: ruleIds.serviceLoop }];
}

/** Against packets that a node would take for another node's VXLAN. */
export interface VxlanRules {
  readonly forward: readonly Rule[];
  readonly input: readonly Rule[];
}

/**
 * Nothing in VXLAN says who sent it, and what is in it is past the check of its source: only nodes may send it (calico.md
 * §4.5). Before connection tracking is asked, so that no answer to a node's port passes. Not only to addresses of the node:
 * the kernel decapsulates multicast and broadcast as well.
 */
export function vxlanRules(
  state: NodeState,
  config: RenderConfig,
  { family, sets }: { family: Family; sets: SetRefs },
): VxlanRules {
  if (!usesVxlan(state, family)) return { forward: [], input: [] };
  const { vxlanPort, allowVXLANPacketsFromWorkloads } = config.felix;
  const match = ["-p", "udp", "-m", "multiport", "--dports", String(vxlanPort)];
  const refused = { target: ["-j", "DROP"], id: ruleIds.vxlanFromWorkload };
  const ofWorkloads = allowVXLANPacketsFromWorkloads
    ? []
    : each(config, (name) => ({ match: ["-i", name, ...match], ...refused }));
  const notFrom = ["-m", "set", "!", "--match-set", hostsSet(state, family, sets), "src"];
  const foreign = { match: [...match, ...notFrom], target: ["-j", "DROP"], id: ruleIds.vxlanFromOutside };
  return { forward: ofWorkloads, input: [...ofWorkloads, foreign] };
}

/** The name of the set of all nodes' addresses. */
export const hostsSet = ({ hosts }: NodeState, family: Family, sets: SetRefs): string =>
  sets.named(names.sets.hosts(family), hosts.flatMap(({ addresses }) => addresses).map(hostPrefix), family);

export const inputRules = (
  config: RenderConfig,
  { hosts, vxlan }: Omit<FixedRules, "loops">,
): readonly Rule[] => [
  ...cutRules(config, ["-i"]),
  ...vxlan.input,
  ...each(config, (name) => ({ match: ["-i", name], target: ["-g", names.chains.workloadToHost] })),
  ...hosts.input,
];

/** Connections that policy no longer allows, before the rules that let established ones through. */
const cutRules = (config: RenderConfig, words: readonly ("-i" | "-o")[]): readonly Rule[] =>
  words.flatMap((word) => config.interfaces.flatMap((name) => cutConnections(config, [word, name])));

/** Of what matches. */
export function cutConnections(config: RenderConfig, match: readonly string[]): readonly Rule[] {
  if (!config.felix.cutDeniedConnections) return [];
  const mark = ["-m", "connmark", "--mark", `${hex(config.cut)}/${hex(config.cut)}`];
  return [{ match: [...match, ...mark], target: config.deny, id: ruleIds.cut }];
}

/** kubelet's probes must reach a pod whatever its policy. */
export const outputRules = (config: RenderConfig, { output }: HostJumps): readonly Rule[] => [
  ...each(config, (name) => ({ match: ["-o", name], target: ["-j", "ACCEPT"], id: ruleIds.hostToWorkload })),
  ...output,
];

/** Multicast listener queries and reports, router and neighbour solicitation, neighbour advertisement. Not router
 * advertisement (134) nor redirect (137): no workload tells its host where to send packets. */
const ICMPV6_TO_HOST = [130, 131, 132, 133, 135, 136] as const;

export function workloadToHostRules(config: RenderConfig, family: Family): readonly Rule[] {
  const neighbours = ICMPV6_TO_HOST.map((type) => ({
    match: ["-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", String(type)],
    target: ["-j", "ACCEPT"],
    id: ruleIds.neighbourDiscovery,
  }));
  return [
    ...(family === 6 ? neighbours : []),
    { match: [], target: ["-j", names.chains.fromWorkload] },
    { match: [], target: config.toHost, id: ruleIds.workloadToHost },
  ];
}

/** Where IPv6 is not supported it is closed, not left open. */
export const closedRules = (config: RenderConfig, words: readonly ("-i" | "-o")[]): readonly Rule[] =>
  words.flatMap((word) =>
    each(config, (name) => ({ match: [word, name], target: config.deny, id: ruleIds.ipv6Off })),
  );

/** The name of the set of all pools of a family. */
export const poolsSet = ({ pools }: NodeState, family: Family, sets: SetRefs): string =>
  sets.named(
    names.sets.pools(family),
    pools.map(({ cidr }) => cidr).filter((cidr) => cidr.family === family),
    family,
  );

/** Packets of pools with `natOutgoing` to anywhere outside all pools get the host's address (calico.md §1.2). */
export function natOutgoingRules(
  state: NodeState,
  config: RenderConfig,
  { family, sets }: { family: Family; sets: SetRefs },
): readonly Rule[] {
  const ours = state.pools.filter(({ cidr }) => cidr.family === family);
  const masqueraded = ours.filter(({ natOutgoing }) => natOutgoing);
  if (masqueraded.length === 0) return [];
  const { natOutgoingInterfaceFilter, natOutgoingExclusions } = config.felix;
  const cidrs = (some: typeof ours) => some.map(({ cidr }) => cidr);
  const from = sets.named(names.sets.masquerade(family), cidrs(masqueraded), family);
  const notTo = [poolsSet(state, family, sets)];
  if (natOutgoingExclusions === "IPPoolsAndHostIPs") notTo.push(hostsSet(state, family, sets));
  const match = [
    ...(natOutgoingInterfaceFilter !== undefined ? ["-o", natOutgoingInterfaceFilter] : []),
    ...["-m", "set", "--match-set", from, "src"],
    ...notTo.flatMap((set) => ["-m", "set", "!", "--match-set", set, "dst"]),
  ];
  return translations(config, family).map(({ protocol, target }) => ({
    match: [...protocol, ...match],
    target,
    id: ruleIds.natOutgoing,
  }));
}

/** `--random-fully`: else two CPUs may pick the same port, and one of two connections is lost. */
function translations({ felix }: RenderConfig, family: Family): { protocol: string[]; target: string[] }[] {
  const { natOutgoingAddress, natPortRange } = felix;
  const ports = natPortRange?.replace(":", "-");
  // The address is an IPv4 one; IPv6 is masqueraded.
  const translate = (range: string | undefined): string[] =>
    family === 4 && natOutgoingAddress !== undefined
      ? [
          "-j",
          "SNAT",
          "--to-source",
          range ? `${natOutgoingAddress}:${range}` : natOutgoingAddress,
          "--random-fully",
        ]
      : ["-j", "MASQUERADE", ...(range ? ["--to-ports", range] : []), "--random-fully"];
  const withPorts = ports ? ["tcp", "udp"] : [];
  return [
    ...withPorts.map((protocol) => ({ protocol: ["-p", protocol], target: translate(ports) })),
    { protocol: [], target: translate(undefined) },
  ];
}
