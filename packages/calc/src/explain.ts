import { contains, formatAddress, formatPrefix } from "@margay/net";
import { Calc } from "./calc.ts";
import { policyText, routeText } from "./explain-text.ts";
import type { EndView, ExplainStep, Explanation, PolicyStep, Question } from "./explanation.ts";
import { hostVerdict } from "./host-verdict.ts";
import { type Leg, legTo } from "./leg.ts";
import type { Packet } from "./match.ts";
import type { Direction, Problem } from "./model.ts";
import { natOutgoing } from "./nat.ts";
import { endsOf, type Place } from "./place.ts";
import { ruleIds } from "./rule-ids.ts";
import type { NodeState } from "./state.ts";
import type { Survey } from "./survey.ts";
import { forward, type Step } from "./verdict.ts";
import { isForgedFromOutside } from "./vxlan-guard.ts";

type Outcome = Pick<Explanation, "verdict" | "because" | "decidedBy">;

/** The packet on its way: each stage adds its steps; the first with an outcome is the last. */
interface Journey {
  readonly survey: Survey;
  readonly stateOf: (node: string) => NodeState;
  readonly source: Place;
  readonly destination: Place;
  /** Its source changes by NAT. */
  packet: Packet;
  readonly steps: ExplainStep[];
  /** As if staged policies were enforced. */
  readonly staged: boolean;
}

/**
 * Every step that the first packet of a flow takes, by the datastore alone: sender's egress policy, route, NAT, receiver's
 * ingress policy, answers. The policy decisions are `forward()`'s, that the kernel's rules are tested against. Throws
 * PlaceError `no-address` when the two have no family in common. Where staged policies select an end, their outcome is
 * told beside.
 */
export function explain(survey: Survey, question: Question): Explanation {
  const states = new Map<string, NodeState>();
  const stateOf = (node: string): NodeState => {
    const state = states.get(node) ?? stateAt(node, survey);
    states.set(node, state);
    return state;
  };
  const found = story({ survey, stateOf, staged: false }, question);
  const ends = [question.source, question.destination].flatMap((place) =>
    place.kind === "pod" ? [place.id] : [],
  );
  const endpoints = [...states.values()].flatMap((state) => state.endpoints);
  const isStaged = endpoints.some(({ id, staged }) => staged !== undefined && ends.includes(id));
  const { verdict, because, decidedBy } = isStaged
    ? story({ survey, stateOf, staged: true }, question)
    : found;
  return {
    ...found,
    ...(isStaged && { staged: { verdict, because, ...(decidedBy && { decidedBy }) } }),
    problems: problemsOn({ ...question, steps: found.steps }, [...states.values()]),
  };
}

/** One telling, up to its outcome. */
function story(
  around: Pick<Journey, "survey" | "stateOf" | "staged">,
  { source, destination, family, ...flow }: Question,
): Omit<Explanation, "problems"> {
  const { from, to } = endsOf(source, destination, family);
  const packet: Packet = { ...flow, source: from, destination: to };
  const journey: Journey = { ...around, source, destination, packet, steps: [] };
  let outcome: Outcome | undefined;
  for (const stage of [stay, leave, routed, hostOut, translate, hostIn, arrive]) outcome ??= stage(journey);
  if (outcome?.verdict === "allowed") answer(journey);
  return {
    source: view(source, formatAddress(from)),
    destination: view(destination, formatAddress(to)),
    ...flow,
    steps: journey.steps,
    ...(outcome ?? { verdict: "allowed", because: "nothing of Margay's has a say in it" }),
  };
}

function stateAt(node: string, { updates }: Survey): NodeState {
  const calc = new Calc(node);
  calc.apply(updates);
  return calc.state();
}

const view = (place: Place, address: string): EndView => ({
  ...{ kind: place.kind, name: place.name, address },
  ...(place.kind !== "outside" && { node: place.node }),
});

function stay({ source, destination }: Pick<Journey, "source" | "destination">): Outcome | undefined {
  if (source.kind === "pod" && destination.kind === "pod" && source.id === destination.id)
    return { verdict: "allowed", because: `the packet does not leave ${source.name}` };
  if (source.kind === "host" && destination.kind === "host" && source.node === destination.node)
    return { verdict: "allowed", because: `the packet does not leave node ${source.node}` };
  return undefined;
}

/** Anti-spoofing and egress policy, on the sender's node. */
function leave(journey: Journey): Outcome | undefined {
  const { source, packet, stateOf, staged } = journey;
  if (source.kind !== "pod") return undefined;
  return police(journey, source, {
    direction: "egress",
    evaluate: (state) => forward(state, packet, { fromInterface: source.interfaceName, staged }).steps,
    state: stateOf(source.node),
  });
}

interface Policing {
  readonly direction: Direction;
  readonly state: NodeState;
  readonly evaluate: (state: NodeState) => readonly Step[];
}

function police(
  { packet, steps }: Journey,
  pod: Extract<Place, { kind: "pod" }>,
  { direction, state, evaluate }: Policing,
): Outcome | undefined {
  const isOff = packet.source.family === 6 && !state.config.ipv6Support;
  const found: readonly Step[] = isOff ? [{ rule: ruleIds.ipv6Off, action: "deny" }] : evaluate(state);
  const last = tell(steps, found, { state, place: { node: pod.node, direction, endpoint: pod.id } });
  if (last?.action !== "deny") return undefined;
  return {
    verdict: "denied",
    because: `${direction} of ${pod.name} on ${pod.node}: ${last.text}`,
    decidedBy: last,
  };
}

/** Adds decisions with what people want to know of them; returns the last. */
function tell(
  steps: ExplainStep[],
  found: readonly Step[],
  { state, place }: { state: NodeState; place: Pick<PolicyStep, "node" | "direction" | "endpoint" | "host"> },
): PolicyStep | undefined {
  const kind = "policy" as const;
  const told = found.map((step) => ({
    ...step,
    ...facts(step, state, place.direction),
    kind,
    ...place,
    text: "",
  }));
  const shown = told.map((step, i) => ({ ...step, text: policyText(step, told.slice(0, i)) }));
  steps.push(...shown);
  return shown.at(-1);
}

/** Host endpoints of the sender's node, of what leaves it. */
function hostOut(journey: Journey): Outcome | undefined {
  const { source, destination } = journey;
  if (source.kind === "outside" || (destination.kind !== "outside" && destination.node === source.node))
    return undefined;
  return policeHost(journey, source.node, { direction: "egress", local: source.kind === "host" });
}

/** ... and of the receiver's node, of what enters it. */
function hostIn(journey: Journey): Outcome | undefined {
  const { source, destination } = journey;
  if (destination.kind === "outside" || (source.kind !== "outside" && source.node === destination.node))
    return undefined;
  return policeHost(journey, destination.node, { direction: "ingress", local: destination.kind === "host" });
}

/** The datastore does not know by which interface a packet goes: with several host endpoints that is told, not guessed. */
function policeHost(
  { packet, steps, stateOf }: Journey,
  node: string,
  { direction, local }: { readonly direction: Direction; readonly local: boolean },
): Outcome | undefined {
  const state = stateOf(node);
  const [only, ...others] = state.hostEndpoints;
  if (!only) return undefined;
  if (others.length > 0) {
    const all = state.hostEndpoints.map(({ id, interfaceName }) => `${id} (${interfaceName})`).join(", ");
    const text = `one of the host endpoints ${all} decides, by the interface; not evaluated`;
    steps.push({ kind: "host", node, rule: ruleIds.hostEndpoint, action: "allow", text });
    return undefined;
  }
  const { interfaceName } = only;
  const { steps: found } = hostVerdict(state, packet, { interfaceName, direction, local });
  const last = tell(steps, found, { state, place: { node, direction, endpoint: only.id, host: true } });
  if (last?.action !== "deny") return undefined;
  return {
    verdict: "denied",
    because: `${direction} of ${only.id} on ${node}: ${last.text}`,
    decidedBy: last,
  };
}

/** What the state says of the policy or profile that a step asked. */
function facts({ tier, policy, rule }: Step, state: NodeState, direction: Direction) {
  const compiled =
    policy === undefined ? undefined : (tier === undefined ? state.profiles : state.policies).get(policy);
  const place = compiled && rule !== undefined ? compiled[direction].findIndex(({ id }) => id === rule) : -1;
  return {
    ...(compiled && { policy: compiled.id }),
    ...(compiled?.revision !== undefined && { revision: compiled.revision }),
    ...(place >= 0 && { index: place }),
  };
}

/** The routes from the sender's node up to the receiver; from outside the packet begins on the receiver's node. */
function routed(journey: Journey): Outcome | undefined {
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
function translate(journey: Journey): Outcome | undefined {
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

/** Ingress policy on the receiver's node, or what a node does with packets for itself. */
function arrive(journey: Journey): Outcome | undefined {
  const { source, destination, packet, stateOf, staged } = journey;
  if (destination.kind === "host" && isForgedFromOutside(stateOf(destination.node), packet))
    return refuseVxlan(journey, destination.node);
  if (destination.kind === "host" && source.kind === "pod" && source.node === destination.node)
    return toOwnHost(journey, source);
  if (destination.kind !== "pod") return summarise(journey);
  if (source.kind === "host" && source.node === destination.node) return fromOwnHost(journey, destination);
  const denied = police(journey, destination, {
    direction: "ingress",
    evaluate: (state) => forward(state, packet, { toInterface: destination.interfaceName, staged }).steps,
    state: stateOf(destination.node),
  });
  return denied ?? summarise(journey);
}

function refuseVxlan({ steps }: Journey, node: string): Outcome {
  const text = "the source is no node's address: only nodes may send VXLAN";
  const decidedBy: ExplainStep = {
    ...{ kind: "host", node, rule: ruleIds.vxlanFromOutside, action: "deny", text },
  };
  steps.push(decidedBy);
  return { verdict: "denied", because: `to node ${node} itself: ${text}`, decidedBy };
}

function toOwnHost(journey: Journey, { node }: Extract<Place, { kind: "pod" }>): Outcome {
  const action = journey.stateOf(node).config.defaultEndpointToHostAction;
  const text = `defaultEndpointToHostAction is ${action}${action === "Return" ? ": the host's own rules decide" : ""}`;
  const isDenied = action === "Drop";
  const step: ExplainStep = {
    ...{ kind: "host", node, rule: ruleIds.workloadToHost, text },
    action: isDenied ? "deny" : "allow",
  };
  journey.steps.push(step);
  if (!isDenied) return summarise(journey);
  return { verdict: "denied", because: `to node ${node} itself: ${text}`, decidedBy: step };
}

function fromOwnHost({ steps }: Journey, { node, name }: Extract<Place, { kind: "pod" }>): Outcome {
  const text = "a node always reaches its own pods";
  const decidedBy: ExplainStep = { kind: "host", node, rule: ruleIds.hostToWorkload, action: "allow", text };
  steps.push(decidedBy);
  return { verdict: "allowed", because: `${name} on ${node}: ${text}`, decidedBy };
}

/** Every endpoint on the way allowed it: name what each of them decided by. */
function summarise({ steps }: Journey): Outcome {
  const allowed = steps.filter((step) => "action" in step && step.action === "allow");
  const decidedBy = allowed.at(-1);
  if (!decidedBy) return { verdict: "allowed", because: "no endpoint of a pod is on the way" };
  const each = allowed.map((s) => `${s.kind === "policy" ? s.direction : "to host"}: ${s.text}`);
  return { verdict: "allowed", because: each.join("; "), decidedBy };
}

/** What comes back belongs to the connection and meets no policy; only its route matters. */
function answer({ source, destination, packet, survey, steps }: Journey): void {
  const ends = [source, destination];
  if (ends.every(({ kind }) => kind !== "pod") || stay({ source, destination })) return;
  const isBetweenNodes =
    source.kind === "pod" && destination.kind === "pod" && source.node !== destination.node;
  const leg = isBetweenNodes ? legTo(packet.source, destination.node, survey) : undefined;
  const back = leg ? `; on ${isBetweenNodes ? destination.node : ""}: ${routeText(leg)}` : "";
  steps.push({ kind: "answer", rule: ruleIds.established, text: `pass as part of the connection${back}` });
}

function problemsOn(
  { source, destination, steps }: Pick<Journey, "source" | "destination"> & Pick<Explanation, "steps">,
  states: readonly NodeState[],
): readonly Problem[] {
  const concerned = new Set([
    ...[source, destination].flatMap((place) => (place.kind === "pod" ? [place.id] : [])),
    ...steps.flatMap((s) => (s.kind === "policy" && s.policy !== undefined ? [s.policy] : [])),
  ]);
  const found = states.flatMap(({ problems }) => problems).filter(({ subject }) => concerned.has(subject));
  return [...new Map(found.map((p) => [`${p.subject} ${p.why}`, p])).values()];
}
