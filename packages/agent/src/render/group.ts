import type { Direction } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";
import type { PolicyChain } from "./policy.ts";
import { SetRefs } from "./sets.ts";

export const notPassed = ({ pass }: RenderConfig): string[] => ["-m", "mark", "--mark", `0x0/${pass}`];

/** Whoever was called goes back to where it was called from, if a policy allowed the packet. */
export const backIfAllowed = ({ accept }: RenderConfig): Rule => ({
  match: ["-m", "mark", "--mark", `${accept}/${accept}`],
  target: ["-j", "RETURN"],
});

/** Groups that are made again when a pod comes back are the same objects; more than these nobody has. */
const KEPT_AT_MOST = 10_000;
const kept = new WeakMap<RenderConfig, Map<string, PolicyChain>>();

/**
 * The policies of one tier in a chain of their own, which all endpoints with the same ones share: a pod with a thousand
 * policies is as few rules more as one with two, and a replica of it none. The same object for the same policies.
 */
export function groupOf(
  policies: readonly Pick<PolicyChain, "name">[],
  direction: Direction,
  config: RenderConfig,
): PolicyChain {
  const all = kept.get(config) ?? new Map<string, PolicyChain>();
  kept.set(config, all);
  if (all.size > KEPT_AT_MOST) all.clear();
  const name = names.chains.group(direction, policies);
  const rules = () =>
    policies.flatMap((policy) => [
      { match: notPassed(config), target: ["-j", policy.name] },
      backIfAllowed(config),
    ]);
  const group = all.get(name) ?? made(name, rules());
  all.set(name, group);
  return group;
}

function made(name: string, rules: readonly Rule[]): PolicyChain {
  const chain = { rules };
  return { name, chain, part: new Map([[`filter/${name}`, chain]]), sets: new SetRefs() };
}
