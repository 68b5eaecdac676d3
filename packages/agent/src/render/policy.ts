import type { CompiledPolicy, Direction } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";
import { renderRule } from "./rule.ts";
import { SetRefs } from "./sets.ts";

/** The chain of a policy or profile in one direction and family; without rules if none can match there. */
export interface PolicyChain {
  readonly name: string;
  readonly chain: Chain;
  /** It alone, by its key in the filter table: the same object for the same chain. */
  readonly part: ReadonlyMap<string, Chain>;
  readonly sets: SetRefs;
}

const kept = new WeakMap<
  CompiledPolicy,
  { readonly config: RenderConfig; readonly chains: Map<string, PolicyChain> }
>();

/** The same object for the same policy and settings: most policies have not changed since the last time. */
export function renderPolicy(
  policy: CompiledPolicy,
  direction: Direction,
  { family, config }: { readonly family: Family; readonly config: RenderConfig },
): PolicyChain {
  const before = kept.get(policy);
  const { chains } = before?.config === config ? before : { chains: new Map<string, PolicyChain>() };
  kept.set(policy, { config, chains });
  const key = `${direction}${family}`;
  const chain = chains.get(key) ?? renderAnew(policy, direction, { family, config });
  chains.set(key, chain);
  return chain;
}

function renderAnew(
  policy: CompiledPolicy,
  direction: Direction,
  context: { readonly family: Family; readonly config: RenderConfig },
): PolicyChain {
  const sets = new SetRefs();
  const all = policy.isStaged
    ? policy[direction].filter(({ action }) => action !== "log")
    : policy[direction];
  const rendered = all.flatMap((rule) => renderRule(rule, { ...context, sets, policy }));
  const rules = policy.isStaged ? rendered.map((rule) => ({ ...rule, target: COUNTED })) : rendered;
  const name = names.chains[direction](policy.id);
  const chain = { rules };
  return { name, chain, part: new Map([[`filter/${name}`, chain]]), sets };
}

/** A staged rule counts, and is the last that is asked of its policy. */
const COUNTED = ["-j", "RETURN"];
