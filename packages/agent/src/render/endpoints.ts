import { isInFamily, type LocalEndpoint, type NodeState } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import { type EndpointChains, type EndpointContext, endpointChains } from "./endpoint.ts";
import type { PolicyChain } from "./policy.ts";

/** What the workloads of one family need; valid until the next call. */
export interface Workloads {
  /** Each one's chains, by its id; the same object for the same chains. */
  readonly parts: ReadonlyMap<string, ReadonlyMap<string, Chain>>;
  /** Those that their chains jump to, and how many of them do. */
  readonly policies: ReadonlyMap<PolicyChain, number>;
  /** Theirs, in the order of the state; the same array for the same interfaces. */
  readonly interfaces: readonly string[];
}

type Facts = Pick<NodeState, "endpoints" | "policies" | "profiles">;

/** What the last call made, and of what. */
interface Last extends Workloads {
  facts: Facts;
  interfaces: readonly string[];
  readonly known: Map<string, { readonly endpoint: LocalEndpoint; readonly its: EndpointChains }>;
  readonly parts: Map<string, ReadonlyMap<string, Chain>>;
  readonly policies: Map<PolicyChain, number>;
}

const lasts = new WeakMap<RenderConfig, Partial<Record<Family, Last>>>();

/**
 * The chains of all workloads of a family. The one that changed is rendered; of the others it is only seen that they did not,
 * so that a change costs next to the same on a node of 1,500 pods as on one of ten.
 */
export function workloadsOf(facts: Facts, config: RenderConfig, family: Family): Workloads {
  const both = lasts.get(config) ?? {};
  lasts.set(config, both);
  const last = both[family] ?? empty();
  both[family] = last;
  follow(last, facts, { family, config, state: facts });
  return last;
}

const empty = (): Last => ({
  facts: { endpoints: [], policies: new Map(), profiles: new Map() },
  ...{ interfaces: [], known: new Map(), parts: new Map(), policies: new Map() },
});

function follow(last: Last, facts: Facts, context: EndpointContext): void {
  const { endpoints } = facts;
  const refers = changedBetween(last.facts, facts);
  const present = new Set<string>();
  let isMoved = false;
  for (const endpoint of endpoints) {
    const known = last.known.get(endpoint.id);
    const isSame = known?.endpoint === endpoint;
    if (isSame && !refers?.(endpoint)) present.add(endpoint.id);
    else if (isInFamily(endpoint, context.family)) {
      present.add(endpoint.id);
      isMoved ||= known?.endpoint.interfaceName !== endpoint.interfaceName;
      put(last, endpoint, endpointChains(endpoint, isSame ? known.its : undefined, context));
    }
  }
  for (const id of last.known.keys()) {
    if (present.has(id)) continue;
    remove(last, id);
    isMoved = true;
  }
  if (isMoved)
    last.interfaces = endpoints.filter(({ id }) => present.has(id)).map(({ interfaceName }) => interfaceName);
  last.facts = facts;
}

function put(last: Last, endpoint: LocalEndpoint, its: EndpointChains): void {
  remove(last, endpoint.id);
  for (const policy of its.policies) last.policies.set(policy, (last.policies.get(policy) ?? 0) + 1);
  last.known.set(endpoint.id, { endpoint, its });
  last.parts.set(endpoint.id, its.chains);
}

function remove({ known, parts, policies }: Last, id: string): void {
  for (const policy of known.get(id)?.its.policies ?? []) {
    const uses = (policies.get(policy) ?? 0) - 1;
    if (uses > 0) policies.set(policy, uses);
    else policies.delete(policy);
  }
  known.delete(id);
  parts.delete(id);
}

/** Whether an endpoint names a policy or profile that became another; undefined when none did. */
function changedBetween(before: Facts, now: Facts): ((endpoint: LocalEndpoint) => boolean) | undefined {
  const policies = changedIn(before.policies, now.policies);
  const profiles = changedIn(before.profiles, now.profiles);
  if (policies.size + profiles.size === 0) return undefined;
  return ({ ingress, egress, staged, profiles: names }) =>
    names.some((name) => profiles.has(name)) ||
    [ingress, egress, staged?.ingress ?? [], staged?.egress ?? []].some((tiers) =>
      tiers.some((tier) => tier.policies.some((id) => policies.has(id))),
    );
}

function changedIn(before: ReadonlyMap<string, unknown>, now: ReadonlyMap<string, unknown>): Set<string> {
  const changed = new Set<string>();
  if (before === now) return changed;
  for (const [id, value] of now) if (before.get(id) !== value) changed.add(id);
  for (const id of before.keys()) if (!now.has(id)) changed.add(id);
  return changed;
}
