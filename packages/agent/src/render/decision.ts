import {
  type CompiledPolicy,
  type Direction,
  type LocalEndpoint,
  type NodeState,
  ruleIds,
  type TierPolicies,
} from "@margay/calc";
import type { Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import { groupOf } from "./group.ts";
import { backIfAllowed, clear, notPassed } from "./marks.ts";
import * as names from "./names.ts";
import { type PolicyChain, renderPolicy } from "./policy.ts";
import { sharedChain } from "./shared-chain.ts";

export interface EndpointContext {
  readonly family: Family;
  readonly config: RenderConfig;
  readonly state: Pick<NodeState, "policies" | "profiles">;
}

type Directed = EndpointContext & { readonly direction: Direction };

/**
 * What all workloads that the same policies and profiles decide share, in one chain that theirs go to: a replica is a few rules more,
 * and the kernel, which goes through all rules that lead anywhere whenever a table gets one more (nft_chain_validate), finds these once.
 * Connection tracking, then tiers, then profiles (calico.md §4.4). Whoever allows the packet sets the accept mark and
 * the chain returns; what nobody allows is dropped here.
 * @returns the chain, then those that it leads to: the rest, and groups of policies
 */
export function decisionOf(
  endpoint: LocalEndpoint,
  context: Directed,
): readonly [PolicyChain, ...PolicyChain[]] {
  const { config, direction } = context;
  const tiers = counted(endpoint[direction], endpoint.staged?.[direction]).map(
    (tier): LinkedTier => ({ tier, group: grouped(tier, context) }),
  );
  const rest = restOf(endpoint, context);
  const text = JSON.stringify([tiers.map((tier) => partsOfName(tier, context)), rest.name]);
  const chain = sharedChain(config, names.chains.decision(direction, text), () => [
    ...begun(config),
    ...tiers.flatMap(({ tier, group }, i) => [
      ...(i > 0 ? [clear(config.pass)] : []),
      ...tierRules(tier, context, group[0]),
    ]),
    { match: [], target: ["-g", rest.name] },
  ]);
  return [chain, rest, ...tiers.flatMap(({ group }) => group)];
}

/** What is asked behind all tiers, in a chain that every workload of the same profiles goes to: another policy leaves it as it is. */
function restOf({ profiles }: LocalEndpoint, context: Directed): PolicyChain {
  const { config, direction, state } = context;
  const all = profiles.map((name) => state.profiles.get(name));
  const text = JSON.stringify(all.map((profile) => link(profile, direction, context)?.name));
  return sharedChain(config, names.chains.rest(direction, text), () => [
    ...all.flatMap((profile) => jumps(profile, { ...context, unlessPassed: false })),
    { match: [], target: config.deny, id: ruleIds.noMatch(direction) },
  ]);
}

interface LinkedTier {
  readonly tier: TierPolicies;
  readonly group: readonly PolicyChain[];
}

/** All that a tier's rules depend on besides the settings. */
function partsOfName({ tier: { tier, defaultAction, policies }, group }: LinkedTier, context: Directed) {
  const { direction, state } = context;
  const named = (id: string) => link(state.policies.get(id), direction, context)?.name;
  return [tier, defaultAction, group[0]?.name ?? policies.map(named)];
}

/** What each begins with is one chain, where what is allowed need not go back. */
const begun = (config: RenderConfig): readonly Rule[] =>
  isShared(config) ? [{ match: [], target: ["-j", names.chains.begin] }] : beginning(config);

/** A packet that is allowed must go no further than the chain that says so. */
export const isShared = ({ allow }: RenderConfig): boolean => allow.includes("ACCEPT");

export const beginning = (config: RenderConfig): readonly Rule[] => [
  {
    match: ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"],
    target: config.allow,
    id: ruleIds.established,
  },
  ...invalid(config),
  clear(config.both),
];

export const stagedIn = ({ policies }: TierPolicies): readonly string[] =>
  policies.filter((id) => id.startsWith(STAGED));

const STAGED = "staged/";

/**
 * The tiers that are enforced, with the staged policies where they would stand: there they count what reaches them. A tier
 * of staged policies alone decides nothing.
 */
export function counted(
  enforced: readonly TierPolicies[],
  staged: readonly TierPolicies[] | undefined,
): readonly TierPolicies[] {
  if (!staged) return enforced;
  const names = interleave(
    enforced.map(({ tier }) => tier),
    staged.map(({ tier }) => tier),
  );
  const find = (tiers: readonly TierPolicies[], name: string) => tiers.find(({ tier }) => tier === name);
  return names.map((tier) => {
    const [own, all] = [find(enforced, tier), find(staged, tier)];
    const policies = interleave(own?.policies ?? [], all?.policies ?? []).filter(
      (id) => id.startsWith(STAGED) || own?.policies.includes(id),
    );
    return { tier, policies, defaultAction: own?.defaultAction ?? "pass" };
  });
}

/** Both lists in one, each in its order: what they share is in the same order in both. */
function interleave(a: readonly string[], b: readonly string[]): string[] {
  const out: string[] = [];
  const rest = [...b];
  for (const name of a) {
    if (rest.includes(name)) out.push(...rest.splice(0, rest.indexOf(name)));
    if (rest[0] === name) rest.shift();
    out.push(name);
  }
  return [...out, ...rest];
}

export const invalid = ({ felix, deny }: RenderConfig): readonly Rule[] =>
  felix.disableConntrackInvalidCheck
    ? []
    : [{ match: ["-m", "conntrack", "--ctstate", "INVALID"], target: deny, id: ruleIds.invalid }];

/** One tier: its policies in order, or their group, then its default. */
export function tierRules(tier: TierPolicies, context: Directed, group?: PolicyChain): readonly Rule[] {
  const { config, direction, state } = context;
  const id = ruleIds.tierDefault(tier.tier, direction);
  return [
    ...(group
      ? [{ match: [], target: ["-j", group.name] }, backIfAllowed(config)]
      : tier.policies.flatMap((policy) =>
          jumps(state.policies.get(policy), { ...context, unlessPassed: true }),
        )),
    ...(tier.defaultAction === "deny" ? [{ match: notPassed(config), target: config.deny, id }] : []),
  ];
}

/** To a policy's chain and, if that allowed the packet, back to where the endpoint's chain was called. */
export function jumps(
  policy: CompiledPolicy | undefined,
  context: Directed & { readonly unlessPassed: boolean },
): readonly Rule[] {
  const { config, direction, unlessPassed } = context;
  const chain = link(policy, direction, context);
  if (!chain) return [];
  const jump = { match: unlessPassed ? notPassed(config) : [], target: ["-j", chain.name] };
  if (policy?.isStaged) return [jump];
  return [jump, backIfAllowed(config)];
}
/** The tier's policies as chains, the first of which is the one to jump to; none if that saves nothing. */
function grouped({ policies }: TierPolicies, context: Directed): readonly PolicyChain[] {
  const { config, direction, state } = context;
  const chains = policies.map((id) => link(state.policies.get(id), direction, context));
  const there = chains.filter((chain) => chain !== undefined);
  return there.length > 1 ? groupOf(there, direction, config) : [];
}

/** A policy's chain, unless no rule of it can match in this family. */
export function link(
  policy: CompiledPolicy | undefined,
  direction: Direction,
  context: EndpointContext,
): PolicyChain | undefined {
  const chain = policy && renderPolicy(policy, direction, context);
  return chain && chain.chain.rules.length > 0 ? chain : undefined;
}
