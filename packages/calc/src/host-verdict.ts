import type { FelixSettings } from "@margay/api";
import { contains, parsePrefix } from "@margay/net";
import { type Packet, PORT_PROTOCOLS } from "./match.ts";
import type { Direction, HostStage, HostTiers, LocalHostEndpoint } from "./model.ts";
import { ruleIds } from "./rule-ids.ts";
import { decide, type Enforced, ends, type Step, tiersSteps } from "./verdict.ts";
import { isForgedFromOutside, type VxlanFacts } from "./vxlan-guard.ts";

export interface HostEnforced extends Enforced, VxlanFacts {
  readonly hostEndpoints: readonly LocalHostEndpoint[];
  readonly config: VxlanFacts["config"] &
    Pick<FelixSettings, "failsafeInboundHostPorts" | "failsafeOutboundHostPorts">;
}

export interface HostVerdict {
  readonly verdict: "allow" | "deny";
  /** Empty: no host endpoint has a say. */
  readonly steps: readonly Step[];
  /** What decided, if an endpoint did. */
  readonly stage?: HostStage;
}

/** The host endpoint behind an interface that is no workload's: the one of its name, else that of all but the loopback. */
export const hostEndpointAt = (
  { hostEndpoints }: Pick<HostEnforced, "hostEndpoints">,
  interfaceName: string,
): LocalHostEndpoint | undefined =>
  hostEndpoints.find((one) => one.interfaceName === interfaceName) ??
  (interfaceName === "lo" ? undefined : hostEndpoints.find((one) => one.interfaceName === "*"));

export interface HostJourney {
  readonly interfaceName: string;
  readonly direction: Direction;
  /** What the node itself receives or sends, or what it forwards. */
  readonly local: boolean;
  /** As it was before destination NAT, if that changed it on the way in. */
  readonly original?: Packet;
  /** An answer that connection tracking knows: policy before that is asked, and no other. */
  readonly tracked?: boolean;
  /** As if staged policies were enforced. */
  readonly staged?: boolean;
}

/**
 * What host endpoints say to the first packet of a flow that enters or leaves by an interface of the node (calico.md §4.4
 * rules 5 and 6): policy before connection tracking, before destination NAT (of what comes in), then what the node itself
 * sends and receives or forwards. Allowed by an earlier one is allowed; a failsafe port is only not asked there. Forged
 * VXLAN for the node itself is refused after the early ones, whatever they say, and with no host endpoint too.
 */
export function hostVerdict(
  state: HostEnforced,
  packet: Packet,
  { interfaceName, direction, local, original = packet, tracked = false, staged = false }: HostJourney,
): HostVerdict {
  const endpoint = hostEndpointAt(state, interfaceName);
  const isForged = direction === "ingress" && local && isForgedFromOutside(state, packet);
  const steps: Step[] = [];
  let decided: HostStage | undefined;
  for (const stage of endpoint ? stagesOf(direction, local) : []) {
    if (!endpoint || (isForged && stage === "normal") || (tracked && stage !== "untracked")) break;
    const found = stageSteps(state, isEarly(stage) ? original : packet, {
      endpoint,
      direction,
      stage,
      staged,
    });
    steps.push(...found.map((step) => ({ endpoint: endpoint.id, direction, ...step })));
    if (ends(steps.at(-1))) decided = stage;
    if (decided) break;
  }
  if (isForged && steps.at(-1)?.action !== "deny")
    steps.push({ rule: ruleIds.vxlanFromOutside, action: "deny" });
  const verdict = steps.at(-1)?.action === "deny" ? "deny" : "allow";
  return { verdict, steps, ...(decided && { stage: decided }) };
}

const isEarly = (stage: HostStage): boolean => stage === "untracked" || stage === "preDnat";

/** What is forwarded was no longer the node's to leave untracked; what leaves is past destination NAT. */
function stagesOf(direction: Direction, local: boolean): readonly HostStage[] {
  const last = local ? "normal" : "forward";
  if (direction === "ingress") return ["untracked", "preDnat", last];
  return local ? ["untracked", last] : [last];
}

interface At {
  readonly endpoint: LocalHostEndpoint;
  readonly direction: Direction;
  readonly stage: HostStage;
  readonly staged: boolean;
}

function stageSteps(
  state: HostEnforced,
  packet: Packet,
  { endpoint, direction, stage, staged }: At,
): readonly Step[] {
  const tiers = tiersAt(endpoint, stage, staged)[direction];
  if (isEarly(stage) && tiers.length === 0) return [];
  const safe = stage === "forward" ? undefined : failsafeOf(state, packet, { direction, stage });
  if (safe !== undefined) return [{ rule: safe, action: isEarly(stage) ? "pass" : "allow" }];
  const ask = { state, packet, direction };
  if (isEarly(stage)) return tiersSteps(ask, tiers);
  if (!endpoint.ok) return [{ rule: ruleIds.unresolved, action: "deny" }];
  if (stage === "normal") return decide(ask, { tiers, profiles: endpoint.profiles });
  return tiers.length === 0 ? [{ rule: ruleIds.hostForward, action: "allow" }] : tiersSteps(ask, tiers);
}

const tiersAt = (endpoint: LocalHostEndpoint, stage: HostStage, staged: boolean): HostTiers[HostStage] =>
  (staged && (stage === "normal" || stage === "forward") && endpoint.staged?.[stage]) || endpoint[stage];

const ICMPV6 = 58;
/** Router and neighbour solicitation and advertisement (RFC 4861 §4). */
export const NEIGHBOUR_DISCOVERY = [133, 134, 135, 136] as const;

/** The failsafe rule that lets a packet through: before connection tracking also as the answer to another. */
function failsafeOf(
  { config }: HostEnforced,
  packet: Packet,
  { direction, stage }: Pick<At, "direction" | "stage">,
): string | undefined {
  const isICMPv6 = packet.protocol === ICMPV6 && packet.source.family === 6;
  if (isICMPv6 && NEIGHBOUR_DISCOVERY.some((type) => type === packet.icmp?.type))
    return ruleIds.failsafeNeighbours;
  const isIn = direction === "ingress";
  const [own, other] = isIn
    ? [config.failsafeInboundHostPorts, config.failsafeOutboundHostPorts]
    : [config.failsafeOutboundHostPorts, config.failsafeInboundHostPorts];
  const far = isIn ? packet.source : packet.destination;
  const isOpen = ({ protocol, port, net }: (typeof own)[number], packetPort: number | undefined) =>
    PORT_PROTOCOLS[packet.protocol] === protocol.toLowerCase() &&
    port === packetPort &&
    (net === undefined || contains(parsePrefix(net), far));
  const safe = own.find((one) => isOpen(one, packet.destinationPort));
  if (safe) return ruleIds.failsafe(direction, safe.protocol, safe.port);
  if (stage !== "untracked") return undefined;
  return other.some((one) => isOpen(one, packet.sourcePort)) ? ruleIds.failsafeAnswer : undefined;
}
