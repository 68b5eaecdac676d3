import { contains, formatAddress, formatPrefix } from "@margay/net";
import { routeText } from "./explain-text.ts";
import { type Journey, type Outcome, stay } from "./journey.ts";
import { type Leg, legTo } from "./leg.ts";
import { natOutgoing } from "./nat.ts";
import { ruleIds } from "./rule-ids.ts";

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

/** What comes back belongs to the connection and meets no policy; only its route matters. */
export function answer({ source, destination, packet, survey, steps }: Journey): void {
  const ends = [source, destination];
  if (ends.every(({ kind }) => kind !== "pod") || stay({ source, destination })) return;
  const isBetweenNodes =
    source.kind === "pod" && destination.kind === "pod" && source.node !== destination.node;
  const leg = isBetweenNodes ? legTo(packet.source, destination.node, survey) : undefined;
  const back = leg ? `; on ${isBetweenNodes ? destination.node : ""}: ${routeText(leg)}` : "";
  steps.push({ kind: "answer", rule: ruleIds.established, text: `pass as part of the connection${back}` });
}
