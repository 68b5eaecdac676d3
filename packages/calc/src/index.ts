export { Calc, type Update } from "./calc.ts";
export { holdsAddress, type Packet } from "./match.ts";
export * from "./model.ts";
export * from "./reach.ts";
export { ruleIds } from "./rule-ids.ts";
export type { NodeState } from "./state.ts";
export {
  type Enforced,
  forward,
  isInFamily,
  type Journey,
  type Step,
  type Verdict,
  verdict,
} from "./verdict.ts";
