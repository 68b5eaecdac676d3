export { affected, hostsAffected } from "./affected.ts";
export { Calc, type Update } from "./calc.ts";
export { closed } from "./compile.ts";
export { explain } from "./explain.ts";
export type { EndView, ExplainStep, Explanation, Question } from "./explanation.ts";
export { type FloatingClaim, FloatingTable, floatingClaim } from "./floating.ts";
export type { InterfaceAddresses } from "./host-endpoints.ts";
export {
  type HostEnforced,
  type HostVerdict,
  hostEndpointAt,
  hostVerdict,
  NEIGHBOUR_DISCOVERY,
} from "./host-verdict.ts";
export { holdsAddress, type Packet } from "./match.ts";
export * from "./model.ts";
export { changedById, findById } from "./order.ts";
export { endsOf, type Place, PlaceError, placeOf } from "./place.ts";
export { podCidrsOf, usedPodCidrs } from "./pod-cidrs.ts";
export * from "./reach.ts";
export { readPool } from "./resources.ts";
export { ruleIds } from "./rule-ids.ts";
export type { NodeState } from "./state.ts";
export { readReachable, type Survey, type SurveyedPod, type SurveyedPool, survey } from "./survey.ts";
export {
  type Enforced,
  forward,
  isInFamily,
  type Journey,
  type Step,
  type Verdict,
  verdict,
} from "./verdict.ts";
export { usesVxlan } from "./vxlan-guard.ts";
