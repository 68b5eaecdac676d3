import {
  type Direction,
  type HostStage,
  type LocalHostEndpoint,
  NEIGHBOUR_DISCOVERY,
  type NodeState,
  ruleIds,
} from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import { type Family, parsePrefix } from "@margay/net";
import { outsideFilter, type RenderConfig } from "./config.ts";
import { counted, type EndpointContext, invalid, jumps, link, stagedIn, tierRules } from "./decision.ts";
import { cutConnections } from "./host.ts";
import { clear, setMark } from "./marks.ts";
import * as names from "./names.ts";
import type { PolicyChain } from "./policy.ts";

/**
 * Where host endpoints are asked, on a packet's way; nothing of this is there without one (calico.md §4.4 rules 5, 6).
 * What is allowed before connection tracking or before destination NAT bears the accept mark and is not asked again.
 *
 *     raw PREROUTING  ui   ─► mangle PREROUTING  pi ─┬─► filter INPUT    i     to the node itself
 *                                                    └─► filter FORWARD  fi … workloads … fo
 *     raw OUTPUT      uo   ──────────────────────────────► filter OUTPUT   o     from the node itself
 */
interface HostPlace {
  readonly name: "ui" | "uo" | "pi" | "i" | "o" | "fi" | "fo";
  readonly table: "raw" | "mangle" | "filter";
  readonly stage: HostStage;
  readonly direction: Direction;
}

const PLACES: readonly HostPlace[] = [
  { name: "ui", table: "raw", stage: "untracked", direction: "ingress" },
  { name: "uo", table: "raw", stage: "untracked", direction: "egress" },
  { name: "pi", table: "mangle", stage: "preDnat", direction: "ingress" },
  { name: "i", table: "filter", stage: "normal", direction: "ingress" },
  { name: "o", table: "filter", stage: "normal", direction: "egress" },
  { name: "fi", table: "filter", stage: "forward", direction: "ingress" },
  { name: "fo", table: "filter", stage: "forward", direction: "egress" },
];

/** Jumps to host endpoints' chains, for the chains of the kernel's hooks; empty without host endpoints. */
export interface HostJumps {
  readonly input: readonly Rule[];
  readonly output: readonly Rule[];
  readonly forwardIn: readonly Rule[];
  readonly forwardOut: readonly Rule[];
  readonly rawPrerouting: readonly Rule[];
  readonly rawOutput: readonly Rule[];
  readonly manglePrerouting: readonly Rule[];
}

export interface HostChains {
  /** By key. */
  readonly chains: ReadonlyMap<string, Chain>;
  readonly jumps: HostJumps;
  /** Chains of the filter table that these jump to, shared with workloads. */
  readonly shared: readonly PolicyChain[];
  /** Those of other tables: their chains are among `chains`. */
  readonly own: readonly PolicyChain[];
}

const NO_JUMPS: HostJumps = {
  ...{ input: [], output: [], forwardIn: [], forwardOut: [] },
  ...{ rawPrerouting: [], rawOutput: [], manglePrerouting: [] },
};

/** IFNAMSIZ, the last of which is 0: what a former version took beyond that is no interface's name. */
const INTERFACE_BYTES = 15;

/** The chains of all host endpoints of the node in one family. */
export function hostChains({ hostEndpoints: all, ...state }: NodeState, context: HostContext): HostChains {
  const hostEndpoints = all.filter(
    ({ interfaceName }) => Buffer.byteLength(interfaceName) <= INTERFACE_BYTES,
  );
  if (hostEndpoints.length === 0) return { chains: new Map(), jumps: NO_JUMPS, shared: [], own: [] };
  const chains = new Map<string, Chain>();
  const [shared, own]: [PolicyChain[], PolicyChain[]] = [[], []];
  const put = (table: string, name: string, rules: readonly Rule[]) =>
    chains.set(`${table}/${name}`, { rules });
  for (const place of PLACES.filter((one) => isAsked(one, hostEndpoints))) {
    const config = place.table === "filter" ? context.config : outsideFilter(context.config);
    const whole = { ...context, state, config };
    put(place.table, names.chains.hostRoot(place.name), rootRules(place, hostEndpoints, context.config));
    for (const endpoint of hostEndpoints) {
      put(
        place.table,
        names.chains.host(place.name, endpoint.interfaceName),
        endpointRules(endpoint, place, whole),
      );
      const policies = linked(endpoint, place, whole);
      (place.table === "filter" ? shared : own).push(...policies);
      if (place.table !== "filter")
        for (const { name, chain } of policies) put(place.table, name, chain.rules);
    }
    if (place.table !== "filter") {
      put(place.table, names.chains.allow, [setMark(context.config.accept)]);
      put(place.table, names.chains.pass, [setMark(context.config.pass)]);
    }
    if (place.stage !== "forward")
      put(place.table, names.chains.failsafe(SHORT[place.direction]), failsafeRules(place, context));
  }
  return { chains, jumps: jumpsTo(chains, context.config), shared, own };
}

const SHORT = { ingress: "in", egress: "out" } as const;

interface HostContext {
  readonly family: Family;
  readonly config: RenderConfig;
}

/** Policies before connection tracking and NAT are rare, and their tables are left alone without one. */
const isAsked = ({ stage, direction }: HostPlace, endpoints: readonly LocalHostEndpoint[]): boolean =>
  stage === "normal" || stage === "forward" || endpoints.some((one) => one[stage][direction].length > 0);

function jumpsTo(chains: ReadonlyMap<string, Chain>, config: RenderConfig): HostJumps {
  const jump = (place: HostPlace["name"], table: string): Rule[] => {
    const name = names.chains.hostRoot(place);
    return chains.has(`${table}/${name}`) ? [{ match: [], target: ["-j", name] }] : [];
  };
  // What earlier hooks allowed bears the mark; where there are none nobody may have set it.
  const marks = [clear(config.both)];
  const untrack: Rule = {
    match: ["-m", "mark", "--mark", `${config.accept}/${config.accept}`],
    target: ["-j", "CT", "--notrack"],
  };
  const before = (place: "ui" | "uo"): readonly Rule[] => {
    const to = jump(place, "raw");
    return [...marks, ...(to.length > 0 ? [...to, untrack] : [])];
  };
  return {
    ...{ input: jump("i", "filter"), output: jump("o", "filter") },
    ...{ forwardIn: jump("fi", "filter"), forwardOut: jump("fo", "filter") },
    ...{ rawPrerouting: before("ui"), rawOutput: before("uo") },
    manglePrerouting: jump("pi", "mangle"),
  };
}

/** To the chain of the packet's interface; workloads' interfaces and the loopback are nobody's here. */
function rootRules(
  { name, direction }: HostPlace,
  endpoints: readonly LocalHostEndpoint[],
  { interfaces }: RenderConfig,
): readonly Rule[] {
  const word = direction === "ingress" ? "-i" : "-o";
  const goto = (interfaceName: string): string[] => ["-g", names.chains.host(name, interfaceName)];
  const all = endpoints.find(({ interfaceName }) => interfaceName === "*");
  return [
    ...interfaces.map((pattern) => ({ match: [word, pattern], target: ["-j", "RETURN"] })),
    ...endpoints
      .filter((endpoint) => endpoint !== all)
      .map(({ interfaceName }) => ({ match: [word, interfaceName], target: goto(interfaceName) })),
    ...(all
      ? [
          { match: [word, "lo"], target: ["-j", "RETURN"] },
          { match: [], target: goto("*") },
        ]
      : []),
  ];
}

type Context = EndpointContext & HostContext;

function endpointRules(endpoint: LocalHostEndpoint, place: HostPlace, context: Context): readonly Rule[] {
  const { config } = context;
  const { stage, direction } = place;
  const failsafe = { match: [], target: ["-j", names.chains.failsafe(SHORT[direction])] };
  const isAccepted = ["-m", "mark", "--mark", `${config.accept}/${config.accept}`];
  const isAllowed = { match: isAccepted, target: ["-j", "RETURN"], id: ruleIds.allowedBefore };
  const policies = { ...context, direction };
  const tiers = counted(endpoint[stage][direction], stagedTiers(endpoint, stage)?.[direction]).flatMap(
    (tier) => [clear(config.pass), ...tierRules(tier, policies)],
  );
  const refused: Rule = { match: [], target: config.deny, id: ruleIds.unresolved };
  const tracked = (target: readonly string[]): Rule => ({
    ...{ match: ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"], target, id: ruleIds.established },
  });
  if ((stage === "untracked" || stage === "preDnat") && tiers.length === 0) return [];
  switch (stage) {
    case "untracked":
      return [failsafe, ...tiers];
    case "preDnat":
      return [isAllowed, tracked(["-j", "RETURN"]), failsafe, ...tiers];
    case "normal":
      return [
        ...cutConnections(config, []),
        { match: isAccepted, target: config.allow, id: ruleIds.allowedBefore },
        tracked(config.allow),
        ...invalid(config),
        failsafe,
        ...(endpoint.ok ? [...tiers, ...profileRules(endpoint, policies)] : [refused]),
      ];
    case "forward":
      return [
        ...cutConnections(config, []),
        // On the way out the mark says that somebody let the packet in, a workload's egress policy perhaps.
        direction === "ingress" ? isAllowed : clear(config.accept),
        tracked(["-j", "RETURN"]),
        ...(endpoint.ok ? tiers : [refused]),
      ];
  }
}

/** Those of the stages that policies can be staged for. */
const stagedTiers = ({ staged }: LocalHostEndpoint, stage: HostStage) =>
  stage === "normal" || stage === "forward" ? staged?.[stage] : undefined;

/** Profiles after the tiers; what nobody allows is dropped. */
function profileRules(
  { profiles }: LocalHostEndpoint,
  context: Context & { readonly direction: Direction },
): readonly Rule[] {
  const all = profiles.map((name) => context.state.profiles.get(name));
  return [
    ...all.flatMap((profile) => jumps(profile, { ...context, unlessPassed: false })),
    { match: [], target: context.config.deny, id: ruleIds.noMatch(context.direction) },
  ];
}

/** The policies, and for the node's own packets the profiles, that have a chain in this family. */
function linked(
  endpoint: LocalHostEndpoint,
  { stage, direction }: HostPlace,
  context: Context,
): readonly PolicyChain[] {
  const { policies, profiles } = context.state;
  const all = [
    ...endpoint[stage][direction].flatMap((tier) => tier.policies.map((id) => policies.get(id))),
    ...(stagedTiers(endpoint, stage)?.[direction] ?? []).flatMap((tier) =>
      stagedIn(tier).map((id) => policies.get(id)),
    ),
    ...(stage === "normal" ? endpoint.profiles.map((name) => profiles.get(name)) : []),
  ];
  return all.map((policy) => link(policy, direction, context)).filter((chain) => chain !== undefined);
}

/** Before connection tracking also what answers the failsafe ports of the other direction (calico.md §4.4 rule 6). */
function failsafeRules({ stage, direction }: HostPlace, { family, config }: HostContext): readonly Rule[] {
  const { failsafeInboundHostPorts, failsafeOutboundHostPorts } = config.felix;
  const isIn = direction === "ingress";
  const [own, other] = isIn
    ? [failsafeInboundHostPorts, failsafeOutboundHostPorts]
    : [failsafeOutboundHostPorts, failsafeInboundHostPorts];
  const target = stage === "normal" ? config.allow : ["-j", "ACCEPT"];
  const rules = (
    ports: typeof own,
    option: "--dport" | "--sport",
    id: (port: (typeof own)[number]) => string,
  ) =>
    ports
      .filter(({ net }) => net === undefined || parsePrefix(net).family === family)
      .map((port) => {
        const far = port.net === undefined ? [] : [isIn ? "-s" : "-d", port.net];
        return {
          match: ["-p", port.protocol.toLowerCase(), ...far, option, String(port.port)],
          target,
          id: id(port),
        };
      });
  const neighbours = family === 4 ? [] : NEIGHBOUR_DISCOVERY;
  return [
    ...neighbours.map((type) => ({
      match: ["-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", String(type)],
      target,
      id: ruleIds.failsafeNeighbours,
    })),
    ...rules(own, "--dport", ({ protocol, port }) => ruleIds.failsafe(direction, protocol, port)),
    ...(stage === "untracked" ? rules(other, "--sport", () => ruleIds.failsafeAnswer) : []),
  ];
}
