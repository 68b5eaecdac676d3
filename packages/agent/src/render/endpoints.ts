import { changedById, isInFamily, type LocalEndpoint, type NodeState } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import { Bucketed, changedKeys, oncePer } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import { type EndpointChains, type EndpointContext, endpointChains } from "./endpoint.ts";
import type { PolicyChain } from "./policy.ts";

/** What the workloads of one family need; valid until the next call. */
export interface Workloads {
  /** Each one's, by its id; the same object for the same chains. */
  readonly chains: Bucketed<ReadonlyMap<string, Chain>>;
  /** Those that their chains jump to, by name. */
  readonly policies: Bucketed<PolicyChain>;
  /** Theirs, in the order of the state; the same array for the same interfaces. */
  readonly interfaces: readonly string[];
}

type Facts = Pick<NodeState, "endpoints" | "policies" | "profiles">;

interface Known {
  readonly endpoint: LocalEndpoint;
  readonly its: EndpointChains;
}

/** What the last call made, and of what. */
interface Last extends Workloads {
  facts: Facts;
  interfaces: readonly string[];
  readonly known: Map<string, Known>;
  /** The workloads that name each policy or profile, by its key in `facts`. */
  readonly naming: Readonly<Record<"policies" | "profiles", Map<string, Set<string>>>>;
  chains: Bucketed<ReadonlyMap<string, Chain>>;
  policies: Bucketed<PolicyChain>;
  /** How many workloads' chains jump to each. */
  readonly uses: Map<string, number>;
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
  delete both[family]; // what a throw leaves half followed is begun anew
  follow(last, facts, { family, config, state: facts });
  both[family] = last;
  return last;
}

const empty = (): Last => ({
  facts: { endpoints: [], policies: new Map(), profiles: new Map() },
  ...{ interfaces: [], known: new Map(), chains: Bucketed.empty<ReadonlyMap<string, Chain>>() },
  ...{ policies: Bucketed.empty<PolicyChain>(), uses: new Map() },
  naming: { policies: new Map(), profiles: new Map() },
});

function follow(last: Last, facts: Facts, context: EndpointContext): void {
  const { known } = last;
  const { gone, came } = changedById(last.facts.endpoints, facts.endpoints);
  const now = came.filter((endpoint) => isInFamily(endpoint, context.family));
  const before = gone.flatMap(({ id }) => known.get(id) ?? []);
  const touched: Touched = new Map();
  const chains = new Map<string, ReadonlyMap<string, Chain> | undefined>();
  for (const { endpoint, its } of before) {
    leave(last, its.policies, touched);
    name(last, endpoint, (ids) => ids.delete(endpoint.id));
    known.delete(endpoint.id);
    chains.set(endpoint.id, undefined);
  }
  const put = (endpoint: LocalEndpoint, former: EndpointChains | undefined): void => {
    const its = endpointChains(endpoint, former, context);
    use(last, its.policies, touched);
    leave(last, former?.policies, touched);
    known.set(endpoint.id, { endpoint, its });
    chains.set(endpoint.id, its.chains);
  };
  for (const { endpoint, its } of referring(last, facts)) put(endpoint, its);
  for (const endpoint of now) {
    put(endpoint, undefined);
    name(last, endpoint, (ids) => ids.add(endpoint.id));
  }
  last.chains = last.chains.edited(chains);
  last.policies = inUse(last, touched);
  if (!sameInterfaces(before, now))
    last.interfaces = facts.endpoints.filter(({ id }) => known.has(id)).map((one) => one.interfaceName);
  last.facts = facts;
}

/** Whether one came or went, or has another interface; both in order of id. */
const sameInterfaces = (before: readonly Known[], now: readonly LocalEndpoint[]): boolean =>
  before.length === now.length &&
  before.every(
    ({ endpoint: { id, interfaceName } }, i) => now[i]?.id === id && now[i].interfaceName === interfaceName,
  );

/** Tells the workloads that name what the endpoint names. */
function name({ naming }: Last, endpoint: LocalEndpoint, tell: (ids: Set<string>) => void): void {
  for (const [kind, keys] of [
    ["policies", policiesOf(endpoint)],
    ["profiles", endpoint.profiles],
  ] as const)
    for (const key of keys) {
      const ids = naming[kind].get(key) ?? new Set();
      tell(ids);
      if (ids.size > 0) naming[kind].set(key, ids);
      else naming[kind].delete(key);
    }
}

/** Those that name a policy or profile that became another. */
function referring({ naming, known, facts: before }: Last, now: Facts): readonly Known[] {
  const found = new Set<string>();
  for (const kind of ["policies", "profiles"] as const)
    for (const key of changedKeys(before[kind], now[kind]))
      for (const id of naming[kind].get(key) ?? []) found.add(id);
  return [...found].flatMap((id) => known.get(id) ?? []);
}

/** By name: the chain as one that began to use it has it, if any did. */
type Touched = Map<string, PolicyChain | undefined>;

function use({ uses }: Last, policies: readonly PolicyChain[], touched: Touched): void {
  for (const policy of policies) {
    uses.set(policy.name, (uses.get(policy.name) ?? 0) + 1);
    touched.set(policy.name, policy);
  }
}

function leave({ uses }: Last, policies: readonly PolicyChain[] | undefined, touched: Touched): void {
  for (const { name } of policies ?? []) {
    uses.set(name, (uses.get(name) ?? 0) - 1);
    if (!touched.has(name)) touched.set(name, undefined);
  }
}

function inUse({ policies, uses }: Last, touched: Touched): Bucketed<PolicyChain> {
  const edits = new Map<string, PolicyChain | undefined>();
  for (const [name, policy] of touched) {
    const isUsed = (uses.get(name) ?? 0) > 0;
    if (!isUsed) uses.delete(name);
    if (policy || !isUsed) edits.set(name, isUsed ? policy : undefined);
  }
  return policies.edited(edits);
}

const policiesOf = oncePer(
  ({ ingress, egress, staged }: LocalEndpoint): ReadonlySet<string> =>
    new Set(
      [ingress, egress, staged?.ingress ?? [], staged?.egress ?? []].flatMap((tiers) =>
        tiers.flatMap(({ policies }) => policies),
      ),
    ),
);
