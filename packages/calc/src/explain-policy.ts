import { policyText } from "./explain-text.ts";
import type { ExplainStep, PolicyStep } from "./explanation.ts";
import type { Journey, Outcome } from "./journey.ts";
import type { Direction } from "./model.ts";
import type { Place } from "./place.ts";
import { ruleIds } from "./rule-ids.ts";
import { locationOf } from "./rule-origins.ts";
import type { NodeState } from "./state.ts";
import { forward, type Step } from "./verdict.ts";
import { isForgedFromOutside } from "./vxlan-guard.ts";

/** Anti-spoofing and egress policy, on the sender's node. */
export function leave(journey: Journey): Outcome | undefined {
  const { source, packet, stateOf, staged } = journey;
  if (source.kind !== "pod") return undefined;
  return police(journey, source, {
    direction: "egress",
    evaluate: (state) =>
      forward(state, packet, { ...bothIfSame(journey), fromInterface: source.interfaceName, staged }).steps,
    state: stateOf(source.node),
  });
}

/** By way of a Service a pod's packet may come back to it. */
const bothIfSame = ({ source, destination }: Journey) =>
  source.kind === "pod" && destination.kind === "pod" && source.id === destination.id
    ? { fromInterface: source.interfaceName, toInterface: source.interfaceName }
    : {};

interface Policing {
  readonly direction: Direction;
  readonly state: NodeState;
  readonly evaluate: (state: NodeState) => readonly Step[];
}

function police(
  { packet, steps, origins }: Journey,
  pod: Extract<Place, { kind: "pod" }>,
  { direction, state, evaluate }: Policing,
): Outcome | undefined {
  const isOff = packet.source.family === 6 && !state.config.ipv6Support;
  const found: readonly Step[] = isOff ? [{ rule: ruleIds.ipv6Off, action: "deny" }] : evaluate(state);
  const last = tell(steps, found, { state, origins, place: { node: pod.node, direction, endpoint: pod.id } });
  if (last?.action !== "deny") return undefined;
  return {
    verdict: "denied",
    because: `${direction} of ${pod.name} on ${pod.node}: ${last.text}`,
    decidedBy: last,
  };
}

interface Told extends Pick<Journey, "origins"> {
  readonly state: NodeState;
}
interface Telling extends Told {
  readonly place: Pick<PolicyStep, "node" | "direction" | "endpoint" | "host">;
}

/** Adds decisions with what people want to know of them; returns the last. */
export function tell(
  steps: ExplainStep[],
  found: readonly Step[],
  { state, origins, place }: Telling,
): PolicyStep | undefined {
  const kind = "policy" as const;
  const told = found.map((step) => ({
    ...step,
    ...facts(step, place.direction, { state, origins }),
    kind,
    ...place,
    text: "",
  }));
  const shown = told.map((step, i) => ({ ...step, text: policyText(step, told.slice(0, i)) }));
  steps.push(...shown);
  return shown.at(-1);
}

/** What the state says of the policy or profile that a step asked. */
function facts({ tier, policy, rule }: Step, direction: Direction, { state, origins }: Told) {
  const compiled =
    policy === undefined ? undefined : (tier === undefined ? state.profiles : state.policies).get(policy);
  const place = compiled && rule !== undefined ? compiled[direction].findIndex(({ id }) => id === rule) : -1;
  const from = compiled && origins.get(compiled.id);
  return {
    ...(compiled && { policy: compiled.id }),
    ...(from && { location: locationOf(from, direction, place) }),
    ...(compiled?.revision !== undefined && { revision: compiled.revision }),
    ...(place >= 0 && { index: place }),
  };
}

/** Ingress policy on the receiver's node, or what a node does with packets for itself. */
export function arrive(journey: Journey): Outcome | undefined {
  const { source, destination, packet, stateOf, staged } = journey;
  if (destination.kind === "host" && isForgedFromOutside(stateOf(destination.node), packet))
    return refuseVxlan(journey, destination.node);
  if (destination.kind === "host" && source.kind === "pod" && source.node === destination.node)
    return toOwnHost(journey, source);
  if (destination.kind !== "pod") return summarise(journey);
  if (source.kind === "host" && source.node === destination.node) return fromOwnHost(journey, destination);
  const denied = police(journey, destination, {
    direction: "ingress",
    evaluate: (state) =>
      forward(state, packet, { ...bothIfSame(journey), toInterface: destination.interfaceName, staged })
        .steps,
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
