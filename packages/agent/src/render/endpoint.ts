import {
  type CompiledPolicy,
  type Direction,
  type LocalEndpoint,
  type NodeState,
  ruleIds,
  type TierPolicies,
} from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import { type Family, formatPrefix, hostPrefix } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import { backIfAllowed, groupOf, notPassed } from "./group.ts";
import * as names from "./names.ts";
import { type PolicyChain, renderPolicy } from "./policy.ts";

export interface EndpointContext {
  readonly family: Family;
  readonly config: RenderConfig;
  readonly state: Pick<NodeState, "policies" | "profiles">;
}

export interface EndpointChains {
  /** By key: from it, to it, and its sources when one rule cannot check them. */
  readonly chains: ReadonlyMap<string, Chain>;
  /** Of the policies and profiles that decide. */
  readonly links: readonly PolicyChain[];
  /** These, and the chains of groups of them, which theirs jump to. */
  readonly policies: readonly PolicyChain[];
}

/** The chains of one endpoint; those of `before`, which were this endpoint's, if they would be the same. */
export function endpointChains(
  endpoint: LocalEndpoint,
  before: EndpointChains | undefined,
  context: EndpointContext,
): EndpointChains {
  const links = endpoint.ok
    ? [...linked(endpoint, "ingress", context), ...linked(endpoint, "egress", context)]
    : [];
  const isSame = before && sameNames(before.links, links);
  const groups = isSame
    ? before.policies.slice(before.links.length)
    : endpoint.ok
      ? groupsOf(endpoint, context)
      : [];
  const chains = isSame ? before.chains : render(endpoint, context);
  return { chains, links, policies: [...links, ...groups] };
}

function groupsOf(endpoint: LocalEndpoint, context: EndpointContext): readonly PolicyChain[] {
  return (["ingress", "egress"] as const).flatMap((direction) =>
    counted(endpoint[direction], endpoint.staged?.[direction]).flatMap((tier) =>
      grouped(tier, { ...context, direction }),
    ),
  );
}

/** The tier's policies as chains, the first of which is the one to jump to; none if that saves nothing. */
function grouped(
  { policies }: TierPolicies,
  context: EndpointContext & { readonly direction: Direction },
): readonly PolicyChain[] {
  const { config, direction, state } = context;
  const chains = policies.map((id) => link(state.policies.get(id), direction, context));
  const there = chains.filter((chain) => chain !== undefined);
  return there.length > 1 ? groupOf(there, direction, config) : [];
}

const sameNames = (a: readonly PolicyChain[], b: readonly PolicyChain[]): boolean =>
  a.length === b.length && a.every(({ name }, i) => name === b[i]?.name);

/** The policies and profiles of one direction that have a chain in this family. */
function linked(
  endpoint: LocalEndpoint,
  direction: Direction,
  context: EndpointContext,
): readonly PolicyChain[] {
  const { policies, profiles } = context.state;
  const all = [
    ...endpoint[direction].flatMap((tier) => tier.policies.map((id) => policies.get(id))),
    ...(endpoint.staged?.[direction] ?? []).flatMap((tier) => stagedIn(tier).map((id) => policies.get(id))),
    ...endpoint.profiles.map((name) => profiles.get(name)),
  ];
  return all.map((policy) => link(policy, direction, context)).filter((chain) => chain !== undefined);
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

function render(endpoint: LocalEndpoint, context: EndpointContext): EndpointChains["chains"] {
  const rules = rulesOf(endpoint, context);
  return new Map([...rules].map(([name, its]) => [`filter/${name}`, { rules: its }]));
}

function rulesOf(endpoint: LocalEndpoint, context: EndpointContext): ReadonlyMap<string, readonly Rule[]> {
  const { interfaceName, ok } = endpoint;
  const [from, to] = [names.chains.from(interfaceName), names.chains.to(interfaceName)];
  const refused = [{ match: [], target: context.config.deny, id: ruleIds.unresolved }];
  if (!ok)
    return new Map([
      [from, refused],
      [to, refused],
    ]);
  const { rules, sources } = antiSpoof(endpoint, context);
  return new Map([
    [from, [...rules, ...policed(endpoint, { direction: "egress", ...context })]],
    [to, policed(endpoint, { direction: "ingress", ...context })],
    ...(sources ? [[names.chains.sources(interfaceName), sources] as const] : []),
  ]);
}

/** A workload sends only from its own MAC and addresses; checked before connection tracking is asked. */
function antiSpoof(
  endpoint: LocalEndpoint,
  { family, config }: EndpointContext,
): { rules: readonly Rule[]; sources?: readonly Rule[] } {
  const { mac, interfaceName } = endpoint;
  const nets = [...endpoint.addresses.map(hostPrefix), ...endpoint.spoofable].filter(
    (net) => net.family === family,
  );
  const wrongMac: Rule[] =
    mac === undefined
      ? []
      : [{ match: ["-m", "mac", "!", "--mac-source", mac], target: config.deny, id: ruleIds.spoofedMac }];
  const [only] = nets;
  const refusal = { target: config.deny, id: ruleIds.spoofedAddress };
  if (only && nets.length === 1)
    return { rules: [{ match: ["!", "-s", formatPrefix(only)], ...refusal }, ...wrongMac] };
  const sources = [
    ...nets.map((net) => ({ match: ["-s", formatPrefix(net)], target: ["-j", "RETURN"] })),
    { match: [], ...refusal },
  ];
  return {
    rules: [{ match: [], target: ["-j", names.chains.sources(interfaceName)] }, ...wrongMac],
    sources,
  };
}

/**
 * Connection tracking, then tiers, then profiles (calico.md §4.4). Whoever allows the packet sets the accept mark and
 * the chain returns; what nobody allows is dropped here.
 */
function policed(
  endpoint: LocalEndpoint,
  context: EndpointContext & { readonly direction: Direction },
): readonly Rule[] {
  const { config, direction, state } = context;
  const profiles = endpoint.profiles.map((name) => state.profiles.get(name));
  return [
    ...begun(config),
    {
      match: [direction === "egress" ? "-o" : "-i", endpoint.interfaceName],
      target: ["-j", "RETURN"],
      id: ruleIds.toItself,
    },
    ...counted(endpoint[direction], endpoint.staged?.[direction]).flatMap((tier, i) => [
      ...(i > 0 ? [clear(config.pass)] : []),
      ...tierRules(tier, context, grouped(tier, context)[0]),
    ]),
    ...profiles.flatMap((profile) => jumps(profile, { ...context, unlessPassed: false })),
    { match: [], target: config.deny, id: ruleIds.noMatch(direction) },
  ];
}

/**
 * What every workload's chain begins with, in one chain: the kernel goes through all rules that lead anywhere whenever a table gets one
 * more (nft_chain_validate), and most of that is waiting for the memory in which they are.
 */
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

export const setMark = (bit: string): Rule => ({
  match: [],
  target: ["-j", "MARK", "--set-xmark", `${bit}/${bit}`],
});

export const clear = (bits: string): Rule => ({
  match: [],
  target: ["-j", "MARK", "--set-xmark", `0x0/${bits}`],
});

/** One tier: its policies in order, or their group, then its default. */
export function tierRules(
  tier: TierPolicies,
  context: EndpointContext & { readonly direction: Direction },
  group?: PolicyChain,
): readonly Rule[] {
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
  context: EndpointContext & { readonly direction: Direction; readonly unlessPassed: boolean },
): readonly Rule[] {
  const { config, direction, unlessPassed } = context;
  const chain = link(policy, direction, context);
  if (!chain) return [];
  const jump = { match: unlessPassed ? notPassed(config) : [], target: ["-j", chain.name] };
  if (policy?.isStaged) return [jump];
  return [jump, backIfAllowed(config)];
}
