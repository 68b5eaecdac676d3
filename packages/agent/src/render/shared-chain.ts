import type { Rule } from "@margay/iptables";
import type { RenderConfig } from "./config.ts";
import type { PolicyChain } from "./policy.ts";
import { SetRefs } from "./sets.ts";

/** Chains that are made again when a pod comes back are the same objects; more than these nobody has. */
const KEPT_AT_MOST = 10_000;
const kept = new WeakMap<RenderConfig, Map<string, PolicyChain>>();

/** A chain that several others call, asking no set itself: the same object for the same name, which says all that is in it. */
export function sharedChain(config: RenderConfig, name: string, rules: () => readonly Rule[]): PolicyChain {
  const all = kept.get(config) ?? new Map<string, PolicyChain>();
  kept.set(config, all);
  if (all.size > KEPT_AT_MOST) all.clear();
  const chain = all.get(name) ?? made(name, rules());
  all.set(name, chain);
  return chain;
}

function made(name: string, rules: readonly Rule[]): PolicyChain {
  const chain = { rules };
  return { name, chain, part: new Map([[`filter/${name}`, chain]]), sets: new SetRefs() };
}
