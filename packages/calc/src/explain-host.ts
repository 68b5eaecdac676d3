import { tell } from "./explain-policy.ts";
import { routeText } from "./explain-text.ts";
import { hostVerdict } from "./host-verdict.ts";
import { type Journey, type Outcome, stay } from "./journey.ts";
import { legTo } from "./leg.ts";
import type { Packet } from "./match.ts";
import type { Direction } from "./model.ts";
import { ruleIds } from "./rule-ids.ts";

/** Host endpoints of the sender's node, of what leaves it. */
export function hostOut(journey: Journey): Outcome | undefined {
  const { source, destination } = journey;
  if (source.kind === "outside" || (destination.kind !== "outside" && destination.node === source.node))
    return undefined;
  return policeHost(journey, source.node, { direction: "egress", local: source.kind === "host" });
}

/** ... and of the receiver's node, of what enters it. */
export function hostIn(journey: Journey): Outcome | undefined {
  const { source, destination } = journey;
  if (destination.kind === "outside" || (source.kind !== "outside" && source.node === destination.node))
    return undefined;
  return policeHost(journey, destination.node, { direction: "ingress", local: destination.kind === "host" });
}

interface At {
  readonly direction: Direction;
  readonly local: boolean;
  /** An answer that connection tracking knows. */
  readonly tracked?: boolean;
}

/** The datastore does not know by which interface a packet goes: every host endpoint of the node is asked, and they have to agree. */
function policeHost(
  journey: Journey,
  node: string,
  { direction, local, tracked = false }: At,
): Outcome | undefined {
  const { packet, original = packet, steps, stateOf, origins, untracked, staged } = journey;
  const state = stateOf(node);
  const each = state.hostEndpoints.map(({ id, interfaceName }) => {
    const at = {
      interfaceName,
      direction,
      local,
      tracked,
      staged,
      ...(direction === "ingress" && { original }),
    };
    const { steps: found, verdict, stage } = hostVerdict(state, packet, at);
    const place = { node, direction, endpoint: id, host: true } as const;
    return { id, interfaceName, verdict, stage, last: tell(steps, found, { state, origins, place }) };
  });
  if (each.some(({ stage, verdict }) => stage === "untracked" && verdict === "allow")) untracked.add(node);
  const [one, ...others] = each;
  if (!one || each.every(({ verdict }) => verdict === "allow")) return undefined;
  if (others.some(({ verdict }) => verdict === "allow") || one.verdict === "allow") {
    const told = each.map(({ id, interfaceName, verdict }) => `${id} (${interfaceName}) would ${verdict}`);
    const text = `the interface decides, which the datastore does not know: ${told.join(", ")}`;
    return { verdict: "unknown", because: `${direction} on ${node}: ${text}` };
  }
  const { last } = one;
  if (!last) throw new Error("what denies says why");
  const because = `${direction} of ${one.id} on ${node}: ${last.text}`;
  return { verdict: "denied", because, decidedBy: last };
}

/**
 * What comes back belongs to the connection and meets no policy but that before connection tracking; and all of it where the
 * packet itself passed untracked. Only its route matters otherwise.
 */
export function answer(journey: Journey): Outcome | undefined {
  const { source, destination, packet, survey, steps } = journey;
  if (stay({ source, destination, steps: [] })) return undefined;
  const denied = answerPoliced(journey);
  if (denied) return { ...denied, because: `the answer, ${denied.because}` };
  if ([source, destination].every(({ kind }) => kind !== "pod")) return undefined;
  const isBetweenNodes =
    source.kind === "pod" && destination.kind === "pod" && source.node !== destination.node;
  const leg = isBetweenNodes ? legTo(packet.source, destination.node, survey) : undefined;
  const back = leg ? `; on ${isBetweenNodes ? destination.node : ""}: ${routeText(leg)}` : "";
  steps.push({ kind: "answer", rule: ruleIds.established, text: `pass as part of the connection${back}` });
  return undefined;
}

/** Host endpoints of the receiver's node, then of the sender's, as they see the answer. */
function answerPoliced(journey: Journey): Outcome | undefined {
  const { source, destination, packet } = journey;
  const isLocal =
    source.kind !== "outside" && destination.kind !== "outside" && source.node === destination.node;
  if (isLocal) return undefined;
  const { original: _, ...way } = journey;
  const back: Journey = { ...way, packet: answerTo(packet) };
  for (const [place, direction] of [
    [destination, "egress"],
    [source, "ingress"],
  ] as const) {
    if (place.kind === "outside") continue;
    const at = { direction, local: place.kind === "host", tracked: !journey.untracked.has(place.node) };
    const outcome = policeHost(back, place.node, at);
    if (outcome) return outcome;
  }
  return undefined;
}

/** ICMP's answer has the type 0 (RFC 792), ICMPv6's the next (RFC 4443 §4.2). */
function answerTo({ source, destination, sourcePort, destinationPort, icmp, ...rest }: Packet): Packet {
  return {
    ...rest,
    ...{ source: destination, destination: source },
    ...(destinationPort !== undefined && { sourcePort: destinationPort }),
    ...(sourcePort !== undefined && { destinationPort: sourcePort }),
    ...(icmp && { icmp: { type: source.family === 4 ? 0 : icmp.type + 1, code: 0 } }),
  };
}
