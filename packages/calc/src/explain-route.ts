import { type Address, contains, formatAddress, formatPrefix } from "@margay/net";
import { type BackendPlace, backendText } from "./explain-service.ts";
import { routeText } from "./explain-text.ts";
import type { ExplainStep } from "./explanation.ts";
import type { Journey, Outcome } from "./journey.ts";
import { type Leg, legTo } from "./leg.ts";
import { natOutgoing } from "./nat.ts";
import { ruleIds } from "./rule-ids.ts";

/** What a Service's packet becomes, where it is sent; and what one for a floating address of the same node does. */
export function proxy(journey: Journey, backend: BackendPlace | undefined): void {
  if (!backend) {
    landed(journey, "same-node");
    return;
  }
  const isForeign = journey.source.kind === "outside";
  const from = isForeign ? ", as if it came in on this node with its source unchanged" : "";
  const to = { address: backend.address, port: backend.port, node: entryOf(journey) };
  redirect(
    journey,
    to,
    `${backendText(backend)}: a backend of ${backend.service} (kube-proxy's part${from})`,
  );
}

/** The node that a packet meets first: its sender's; from outside, for want of more, its receiver's, or any. */
function entryOf({ source, destination, survey }: Journey): string {
  if (source.kind !== "outside") return source.node;
  return destination.kind !== "outside" ? destination.node : (survey.nodes[0]?.name ?? "");
}

/** A floating address becomes the pod's own on the pod's node. */
export function land(journey: Journey): undefined {
  landed(journey, "other-node");
}

/** On the sender's own node it does so before anything is asked. */
function landed(journey: Journey, from: "same-node" | "other-node"): void {
  const { source, destination } = journey;
  if (destination.kind !== "pod" || !destination.internal) return;
  const isSame = source.kind !== "outside" && source.node === destination.node;
  if (isSame !== (from === "same-node")) return;
  const { internal: address, node } = destination;
  redirect(
    journey,
    { address, node },
    `${formatAddress(address)}: it was a floating address of ${destination.name}`,
  );
}

/** Destination NAT. Host endpoints of the receiver's node see what came in before it, too. */
function redirect(
  journey: Journey,
  { address, port, node }: { readonly address: Address; readonly port?: number; readonly node: string },
  text: string,
): void {
  const { destination, packet } = journey;
  if (destination.kind !== "outside" && destination.node === node) journey.original = packet;
  journey.packet = { ...packet, destination: address, ...(port !== undefined && { destinationPort: port }) };
  const becomes = { destination: formatAddress(address), text: `the destination becomes ${text}` };
  journey.steps.push({ kind: "nat", node, ...becomes });
}

/** A service address that nothing translated would come back from the router that it is announced to. */
export function serviceLoop(journey: Journey): Outcome | undefined {
  const { source, destination, packet, steps, stateOf } = journey;
  if (source.kind === "host" || destination.kind !== "outside") return undefined;
  const node = entryOf(journey);
  const { services, config } = stateOf(node);
  const isAnnounced = services.some((range) => contains(range, packet.destination));
  if (!isAnnounced || config.serviceLoopPrevention === "Disabled") return undefined;
  const address = formatAddress(packet.destination);
  const text = `${address} is in an announced range of services, and no Service has it (serviceLoopPrevention)`;
  const decidedBy: ExplainStep = { kind: "host", node, rule: ruleIds.serviceLoop, action: "deny", text };
  steps.push(decidedBy);
  return { verdict: "denied", because: `forwarded by ${node}: ${text}`, decidedBy };
}

/** The routes from the sender's node up to the receiver; from outside the packet begins on the receiver's node. */
export function routed(journey: Journey): Outcome | undefined {
  const { destination, packet, survey } = journey;
  const start = startOf(journey);
  if (start === undefined) return undefined;
  const first = step(journey, start);
  const last = first.kind === "remote" ? step(journey, first.node) : first;
  const decidedBy = journey.steps.at(-1);
  const address = formatAddress(packet.destination);
  const lost = (why: string): Outcome => ({
    verdict: "unreachable",
    because: why,
    ...(decidedBy && { decidedBy }),
  });
  if (last.kind === "blackhole")
    return lost(`no pod has ${address}: it is a free address of ${formatPrefix(last.block)}`);
  const pool = survey.pools.find(({ cidr }) => contains(cidr, packet.destination));
  if (destination.kind === "outside" && pool && last.kind === "own-routes")
    return lost(`no pod has ${address} of pool ${pool.name}: ${last.why}`);
  return undefined;
}

/** The first node on the way: the sender's, else the one that the address leads to. */
function startOf({ source, destination, packet, survey }: Journey): string | undefined {
  if (source.kind !== "outside") return source.node;
  if (destination.kind !== "outside") return destination.node;
  return survey.blocks.find(({ cidr }) => contains(cidr, packet.destination))?.node;
}

function step({ packet, survey, steps }: Journey, node: string): Leg {
  const leg = legTo(packet.destination, node, survey);
  const facts =
    leg.kind === "remote"
      ? {
          ...{ block: formatPrefix(leg.reached.block), toNode: leg.node },
          ...{ way: leg.reached.way, daemon: leg.reached.daemon },
        }
      : leg.kind === "blackhole"
        ? { block: formatPrefix(leg.block) }
        : {};
  steps.push({ kind: "route", node, route: leg.kind, ...facts, text: routeText(leg) });
  return leg;
}

/** What NAT outgoing makes of it on the sender's node, once it is routed away from there. */
export function translate(journey: Journey): Outcome | undefined {
  const { source, destination, packet, survey } = journey;
  if (source.kind !== "pod" || (destination.kind !== "outside" && destination.node === source.node))
    return undefined;
  const { node } = source;
  const { text, becomes } = natOutgoing(packet, survey, journey.stateOf(node));
  if (becomes) journey.packet = { ...packet, source: becomes };
  const facts = { ...(becomes && { rule: ruleIds.natOutgoing, source: formatAddress(becomes) }) };
  journey.steps.push({ kind: "nat", node, ...facts, text });
  return undefined;
}
