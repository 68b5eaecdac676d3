import { formatAddress } from "@margay/net";
import { Calc } from "./calc.ts";
import { byDomains, learnAll } from "./explain-domains.ts";
import { answer, hostIn, hostOut } from "./explain-host.ts";
import { arrive, leave } from "./explain-policy.ts";
import { land, proxy, routed, serviceLoop, translate } from "./explain-route.ts";
import { type BackendPlace, backendText, proxied } from "./explain-service.ts";
import type { EndView, Explanation, Question, Told } from "./explanation.ts";
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
 * told beside. What is for a Service is told for each of its backends.
 */
export function explain(survey: Survey, question: Question): Explanation {
  const calcs = new Map<string, Calc>();
  const states = new Map<string, NodeState>();
  const stateOf = (node: string): NodeState => {
    const calc = calcs.get(node) ?? calcOf(node, survey);
    calcs.set(node, calc);
    const state = states.get(node) ?? calc.state();
    states.set(node, state);
    return state;
  };
  const around = { survey, stateOf, origins: ruleOrigins(survey) };
  const service = proxied(survey, question);
  const backends = service?.kind === "backends" ? service.backends : [undefined];
  const tell = (staged: boolean): Told => {
    if (service && service.kind !== "backends") return unproxied(question, service);
    return together(
      backends.map((backend) => ({ backend, story: story({ ...around, staged }, question, backend) })),
    );
  };
  const found = tell(false);
  const places = [question.source, ...backends.map((backend) => backend?.place ?? question.destination)];
  const ends = places.flatMap((place) => (place.kind === "pod" ? [place.id] : []));
  const endpoints = [...states.values()].flatMap((state) => state.endpoints);
  const hosts = [...states.values()].flatMap((state) => state.hostEndpoints);
  const isStaged =
    endpoints.some(({ id, staged }) => staged !== undefined && ends.includes(id)) ||
    hosts.some(({ staged }) => staged !== undefined);
  const staged = isStaged ? tell(true) : undefined;
  const problems = problemsOn({ ends, steps: found.steps }, [...states.values()]);
  const learning = learnAll(calcs, places);
  for (const node of learning) states.delete(node);
  const certain = (without: Told, isStaged: boolean): Told =>
    learning.length === 0 ? without : byDomains(without, tell(isStaged), learning);
  return {
    ...certain(found, false),
    ...(staged && { staged: outcomeOf(certain(staged, true)) }),
    problems,
  };
}

const outcomeOf = ({ verdict, because, decidedBy }: Told): Outcome => ({
  ...{ verdict, because },
  ...(decidedBy && { decidedBy }),
});

/** For an address of a Service, where nothing takes it. */
function unproxied(
  { source, destination, family, ...flow }: Question,
  { kind, why }: { readonly kind: "none" | "unknown"; readonly why: string },
): Told {
  const { from, to } = endsOf(source, destination, family);
  const verdict = kind === "none" ? "unreachable" : "unknown";
  const ends = {
    source: view(source, formatAddress(from)),
    destination: view(destination, formatAddress(to)),
  };
  return { ...ends, ...flow, steps: [], verdict, because: why };
}

/** Of one packet for a Service, what each of its backends makes of it: one verdict only where they agree. */
function together(
  all: readonly { readonly backend: BackendPlace | undefined; readonly story: Told }[],
): Told {
  const shown = (all.find(({ story: { verdict } }) => verdict !== "allowed") ?? all[0])?.story;
  if (!shown) throw new Error("a packet goes somewhere");
  const backends = all.flatMap(({ backend, story: told }) =>
    backend ? [{ name: backend.place.name, address: backendText(backend), ...outcomeOf(told) }] : [],
  );
  if (backends.length === 0) return shown;
  if (backends.every(({ verdict }) => verdict === shown.verdict)) return { ...shown, backends };
  const each = backends.map(({ name, address, verdict }) => `${address} (${name}) ${verdict}`).join(", ");
  return { ...shown, backends, verdict: "unknown", because: `it differs by backend: ${each}` };
}

const STAGES = [stay, leave, routed, hostOut, serviceLoop, translate, land, hostIn, arrive] as const;

/** One telling, up to its outcome. */
function story(
  around: Pick<Journey, "survey" | "stateOf" | "origins" | "staged">,
  { source, destination, family, ...flow }: Question,
  backend: BackendPlace | undefined,
): Told {
  const { from, to } = endsOf(source, destination, family);
  const packet: Packet = { ...flow, source: from, destination: to };
  const place = backend?.place ?? destination;
  const journey: Journey = { ...around, source, destination: place, packet, steps: [], untracked: new Set() };
  proxy(journey, backend);
  let outcome: Outcome | undefined;
  for (const stage of STAGES) outcome ??= stage(journey);
  if (outcome?.verdict === "allowed") outcome = answer(journey) ?? outcome;
  return {
    source: view(source, formatAddress(from)),
    destination: view(destination, formatAddress(to)),
    ...flow,
    steps: journey.steps,
    ...(outcome ?? { verdict: "allowed", because: "nothing of Margay's has a say in it" }),
  };
}

function calcOf(node: string, { updates }: Survey): Calc {
  const calc = new Calc(node);
  calc.apply(updates);
  return calc;
}

const view = (place: Place, address: string): EndView => ({
  ...{ kind: place.kind, name: place.name, address },
  ...(place.kind !== "outside" && { node: place.node }),
});

function problemsOn(
  { ends, steps }: Pick<Explanation, "steps"> & { readonly ends: readonly string[] },
  states: readonly NodeState[],
): readonly Problem[] {
  const concerned = new Set([
    ...ends,
    ...steps.flatMap((s) => (s.kind === "policy" && s.policy !== undefined ? [s.policy] : [])),
  ]);
  const found = states.flatMap(({ problems }) => problems).filter(({ subject }) => concerned.has(subject));
  return [...new Map(found.map((p) => [`${p.subject} ${p.why}`, p])).values()];
}
