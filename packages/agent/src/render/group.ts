import type { Direction } from "@margay/calc";
import type { RenderConfig } from "./config.ts";
import { backIfAllowed, notPassed } from "./marks.ts";
import * as names from "./names.ts";
import type { PolicyChain } from "./policy.ts";
import { sharedChain } from "./shared-chain.ts";

type Member = Pick<PolicyChain, "name">;

/** A group of more is one of smaller groups. */
const AT_MOST = 32;
const AT_LEAST = 4;

/**
 * The policies of one tier in a chain of their own, which all endpoints with the same ones share: a pod with a thousand
 * policies is as few rules more as one with two, and a replica of it none. The same objects for the same policies. One policy
 * more is a few short chains, however many there are: where a large group is cut depends on the policies next to the cut alone.
 * @returns the chain to jump to, then those below it
 */
export function groupOf(
  policies: readonly Member[],
  direction: Direction,
  config: RenderConfig,
): readonly [PolicyChain, ...PolicyChain[]] {
  if (policies.length <= AT_MOST) return [chainOf(policies, direction, config)];
  const groups = cut(policies).map((some) => chainOf(some, direction, config));
  return [...groupOf(groups, direction, config), ...groups];
}

/** Behind the policies whose name, a hash, ends with 0: one in sixteen. */
function cut(policies: readonly Member[]): readonly (readonly Member[])[] {
  const pieces: Member[][] = [[]];
  for (const policy of policies) {
    const last = pieces.at(-1);
    last?.push(policy);
    const length = last?.length ?? 0;
    if (length >= AT_MOST || (length >= AT_LEAST && policy.name.endsWith("0"))) pieces.push([]);
  }
  return pieces.filter((piece) => piece.length > 0);
}

const chainOf = (policies: readonly Member[], direction: Direction, config: RenderConfig): PolicyChain =>
  sharedChain(config, names.chains.group(direction, policies), () =>
    policies.flatMap((policy) => [
      { match: notPassed(config), target: ["-j", policy.name] },
      backIfAllowed(config),
    ]),
  );
