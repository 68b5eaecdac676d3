import { formatAddress } from "@margay/net";
import { Calc } from "./calc.ts";
import { arrive, hostIn, hostOut, leave } from "./explain-policy.ts";
import { answer, routed, translate } from "./explain-route.ts";
import type { EndView, Explanation, Question } from "./explanation.ts";
import { type Journey, type Outcome, stay } from "./journey.ts";
import type { Packet } from "./match.ts";
import type { Problem } from "./model.ts";
import { endsOf, type Place } from "./place.ts";
import { ruleOrigins } from "./rule-origins.ts";
import type { NodeState } from "./state.ts";
import type { Survey } from "./survey.ts";

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
  const around = { survey, stateOf, origins: ruleOrigins(survey) };
  const found = story({ ...around, staged: false }, question);
  const ends = [question.source, question.destination].flatMap((place) =>
    place.kind === "pod" ? [place.id] : [],
  );
  const endpoints = [...states.values()].flatMap((state) => state.endpoints);
  const isStaged = endpoints.some(({ id, staged }) => staged !== undefined && ends.includes(id));
  const { verdict, because, decidedBy } = isStaged ? story({ ...around, staged: true }, question) : found;
  return {
    ...found,
    ...(isStaged && { staged: { verdict, because, ...(decidedBy && { decidedBy }) } }),
    problems: problemsOn({ ...question, steps: found.steps }, [...states.values()]),
  };
}

/** One telling, up to its outcome. */
function story(
  around: Pick<Journey, "survey" | "stateOf" | "origins" | "staged">,
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
