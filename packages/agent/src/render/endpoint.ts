import {
  type CompiledPolicy,
  type Direction,
  type LocalEndpoint,
  type NodeState,
  ruleIds,
  type TierPolicies,
} from "@margay/calc";
import type { Rule } from "@margay/iptables";
import { type Family, formatPrefix, hostPrefix } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";

export interface EndpointContext {
  readonly family: Family;
  readonly config: RenderConfig;
  readonly state: Pick<NodeState, "policies" | "profiles">;
  /** The chain of a policy or profile in a direction; undefined if it has no rule in this family. */
  readonly chainOf: (policy: CompiledPolicy, direction: Direction) => string | undefined;
}

type EndpointChains = ReadonlyMap<string, readonly Rule[]>;

interface Kept {
  readonly config: RenderConfig;
  readonly links: string;
  readonly chains: EndpointChains;
}

const kept = new WeakMap<LocalEndpoint, Partial<Record<Family, Kept>>>();

/**
 * The chains of one endpoint, by name: from it, to it, and its sources when one rule cannot check them. They change
 * only with the endpoint, the settings, and whether the policies it names have chains; till then they are the same.
 */
export function endpointChains(endpoint: LocalEndpoint, context: EndpointContext): EndpointChains {
  const { family, config } = context;
  const links = [...linksOf(endpoint, "ingress", context), ...linksOf(endpoint, "egress", context)].join(" ");
  const before = kept.get(endpoint) ?? {};
  const known = before[family];
  if (known?.config === config && known.links === links) return known.chains;
  const chains = render(endpoint, context);
  kept.set(endpoint, { ...before, [family]: { config, links, chains } });
  return chains;
}

/** The chains that an endpoint's chain of one direction jumps to, "-" for none. */
function linksOf(
  endpoint: LocalEndpoint,
  direction: Direction,
  { state, chainOf }: EndpointContext,
): string[] {
  const policies = endpoint[direction].flatMap((tier) => tier.policies.map((id) => state.policies.get(id)));
  const profiles = endpoint.profiles.map((name) => state.profiles.get(name));
  return [...policies, ...profiles].map((policy) => (policy && chainOf(policy, direction)) ?? "-");
}

function render(endpoint: LocalEndpoint, context: EndpointContext): EndpointChains {
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
    {
      match: ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"],
      target: config.allow,
      id: ruleIds.established,
    },
    ...invalid(config),
    clear(config.both),
    ...endpoint[direction].flatMap((tier, i) => [
      ...(i > 0 ? [clear(config.pass)] : []),
      ...tierRules(tier, context),
    ]),
    ...profiles.flatMap((profile) => jumps(profile, { ...context, unlessPassed: false })),
    { match: [], target: config.deny, id: ruleIds.noMatch(direction) },
  ];
}

const invalid = ({ felix, deny }: RenderConfig): readonly Rule[] =>
  felix.disableConntrackInvalidCheck
    ? []
    : [{ match: ["-m", "conntrack", "--ctstate", "INVALID"], target: deny, id: ruleIds.invalid }];

const clear = (bits: string): Rule => ({ match: [], target: ["-j", "MARK", "--set-xmark", `0x0/${bits}`] });

function tierRules(
  tier: TierPolicies,
  context: EndpointContext & { readonly direction: Direction },
): readonly Rule[] {
  const { config, direction, state } = context;
  const id = ruleIds.tierDefault(tier.tier, direction);
  return [
    ...tier.policies.flatMap((policy) =>
      jumps(state.policies.get(policy), { ...context, unlessPassed: true }),
    ),
    ...(tier.defaultAction === "deny" ? [{ match: notPassed(config), target: config.deny, id }] : []),
  ];
}

const notPassed = ({ pass }: RenderConfig): string[] => ["-m", "mark", "--mark", `0x0/${pass}`];

/** To a policy's chain and, if that allowed the packet, back to where the endpoint's chain was called. */
function jumps(
  policy: CompiledPolicy | undefined,
  context: EndpointContext & { readonly direction: Direction; readonly unlessPassed: boolean },
): readonly Rule[] {
  const { config, direction, unlessPassed } = context;
  const chain = policy && context.chainOf(policy, direction);
  if (!chain) return [];
  return [
    { match: unlessPassed ? notPassed(config) : [], target: ["-j", chain] },
    { match: ["-m", "mark", "--mark", `${config.accept}/${config.accept}`], target: ["-j", "RETURN"] },
  ];
}
