import { changedById, isInFamily, type LocalEndpoint, type NodeState } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import { Bucketed, changedKeys, oncePer, placeIn, setDifference } from "@margay/reconcile";
import { type Cohorts, type DecidedBy, NO_SOURCES, NOBODY, type Sources, sourcesAfter } from "./cohort.ts";
import type { RenderConfig } from "./config.ts";
import type { EndpointContext } from "./decision.ts";
import type { Entry } from "./dispatch.ts";
import { type EndpointChains, endpointChains } from "./endpoint.ts";
import type { PolicyChain } from "./policy.ts";

/** What the workloads of one family need; valid until the next call. */
export interface Workloads {
  /** Each one's, by its id; the same object for the same chains. */
  readonly chains: Bucketed<ReadonlyMap<string, Chain>>;
  /** Those that their chains jump to, by name. */
  readonly policies: Bucketed<PolicyChain>;
  /** Where they are dispatched, in order of interface; the same arrays for the same entries. */
  readonly entries: Entries;
  /** Of those that their interface's group dispatches; the same objects while they say the same. */
  readonly sources: Sources;
  /** By group. */
  readonly decisions: ReadonlyMap<number, DecidedBy>;
}

type Entries = Readonly<Record<"from" | "to", readonly Entry[]>>;

type Facts = Pick<NodeState, "endpoints" | "policies" | "profiles"> & { readonly cohorts: Cohorts };

interface Known {
  readonly endpoint: LocalEndpoint;
  readonly its: EndpointChains;
}

/** What the last call made, and of what. */
interface Last extends Workloads {
  facts: Facts;
  entries: Entries;
  sources: Sources;
  decisions: ReadonlyMap<number, DecidedBy>;
  /** The workloads that claim each interface: the last in order has it. */
  readonly claims: Map<string, Set<string>>;
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
  facts: { endpoints: [], policies: new Map(), profiles: new Map(), cohorts: NOBODY },
  ...{
    ...{ entries: { from: [], to: [] }, sources: NO_SOURCES, decisions: new Map<number, DecidedBy>() },
    claims: new Map(),
    known: new Map(),
    chains: Bucketed.empty<ReadonlyMap<string, Chain>>(),
  },
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
  const claimed = new Set<string>();
  for (const { endpoint, its } of before) {
    claim(last, endpoint, (ids) => ids.delete(endpoint.id));
    claimed.add(endpoint.interfaceName);
    leave(last, its.policies, touched);
    name(last, endpoint, (ids) => ids.delete(endpoint.id));
    known.delete(endpoint.id);
    chains.set(endpoint.id, undefined);
  }
  const { members } = facts.cohorts;
  const put = (endpoint: LocalEndpoint, former: EndpointChains | undefined, isAnew = false): void => {
    const isMember = members.has(endpoint.id);
    const its = endpointChains(endpoint, isAnew ? undefined : former, { ...context, isMember });
    use(last, its.policies, touched);
    leave(last, former?.policies, touched);
    known.set(endpoint.id, { endpoint, its });
    chains.set(endpoint.id, its.chains);
    claimed.add(endpoint.interfaceName);
  };
  for (const { endpoint, its } of referring(last, facts)) put(endpoint, its);
  const moved = movedIn(last, members);
  for (const { endpoint } of moved) put(endpoint, known.get(endpoint.id)?.its, true);
  for (const endpoint of now) {
    put(endpoint, undefined);
    claim(last, endpoint, (ids) => ids.add(endpoint.id));
    name(last, endpoint, (ids) => ids.add(endpoint.id));
  }
  last.chains = last.chains.edited(chains);
  last.policies = inUse(last, touched);
  last.entries = entriesAfter(last, claimed);
  const isIn = ({ interfaceName }: LocalEndpoint) => facts.cohorts.groups.has(interfaceName); // also who is about to move
  last.sources = sourcesAfter(last.sources, context.family, [
    ...before.map(({ endpoint }) => [endpoint, false] as const),
    ...[...moved.map(({ endpoint }) => endpoint), ...now].map((one) => [one, isIn(one)] as const),
  ]);
  last.decisions = decisionsAfter(last, facts.cohorts);
  last.facts = facts;
}

/** Those that became members of a cohort, or no longer are. */
function movedIn({ facts, known }: Last, members: ReadonlySet<string>): readonly Known[] {
  const { gone, fresh } = setDifference(facts.cohorts.members, members);
  return [...gone, ...fresh].flatMap((id) => known.get(id) ?? []);
}

function decisionsAfter(
  { decisions: before, known }: Last,
  { cohorts }: Cohorts,
): ReadonlyMap<number, DecidedBy> {
  const found = [...cohorts].flatMap(([group, { id }]) => {
    const by = known.get(id)?.its.decidedBy;
    return by ? [[group, by] as const] : [];
  });
  const isSame = ([group, { ingress, egress }]: (typeof found)[number]) =>
    before.get(group)?.ingress === ingress && before.get(group)?.egress === egress;
  return found.length === before.size && found.every(isSame) ? before : new Map(found);
}

/** Tells the workloads that claim an interface. */
function claim({ claims }: Last, { interfaceName }: LocalEndpoint, tell: (ids: Set<string>) => void): void {
  const ids = claims.get(interfaceName) ?? new Set();
  tell(ids);
  if (ids.size > 0) claims.set(interfaceName, ids);
  else claims.delete(interfaceName);
}

/** With those of `claimed` as they are now. */
function entriesAfter({ entries, claims, known }: Last, claimed: ReadonlySet<string>): Entries {
  const owners = [...claimed].map((interfaceName) => {
    const id = [...(claims.get(interfaceName) ?? [])].sort().at(-1);
    return [interfaceName, id === undefined ? undefined : known.get(id)?.its] as const;
  });
  const after = (which: "from" | "to") =>
    relisted(entries[which], new Map(owners.map(([name, its]) => [name, its?.[which]])));
  return { from: after("from"), to: after("to") };
}

/** Few go to their places in what is in order. */
function relisted(list: readonly Entry[], changes: ReadonlyMap<string, Entry | undefined>): readonly Entry[] {
  let all: Entry[] | undefined;
  for (const [name, entry] of changes) {
    const at = placeIn(all ?? list, ({ interfaceName }) => interfaceName < name);
    const before = (all ?? list)[at];
    const isThere = before?.interfaceName === name;
    if (isThere ? before === entry : !entry) continue;
    all ??= [...list];
    all.splice(at, isThere ? 1 : 0, ...(entry ? [entry] : []));
  }
  return all ?? list;
}

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
