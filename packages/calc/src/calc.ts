import { type AnyResource, type Labels, parseKey, type WorkloadEndpoint } from "@margay/api";
import type { Address } from "@margay/net";
import { oncePer, partsOf } from "@margay/reconcile";
import { ActiveSets, type Contribution } from "./active-sets.ts";
import { Cluster, isClusterKind } from "./cluster.ts";
import { domainContribution, domainLabels, domainMeant, domainsIn } from "./domains.ts";
import { doubtsOf } from "./doubts.ts";
import { FloatingTable, floatingClaim } from "./floating.ts";
import { HostEndpoints, type InterfaceAddresses } from "./host-endpoints.ts";
import { Inheritance } from "./inheritance.ts";
import type { CompiledPolicy, Problem } from "./model.ts";
import { compareText } from "./order.ts";
import { OwnBlocks } from "./own-blocks.ts";
import { PolicyTable } from "./policy-table.ts";
import { ProfileTable } from "./profile-table.ts";
import { ResolverSets } from "./resolvers.ts";
import * as read from "./resources.ts";
import { serviceLabels } from "./set-spec.ts";
import type { NodeState } from "./state.ts";
import { Workloads } from "./workloads.ts";

/** A change of one datastore key. Neither `value` nor `corrupt`: the key is gone; of settings both: what of them can be read. */
export interface Update {
  readonly key: string;
  readonly value?: AnyResource;
  /** Why the value cannot be read. What it stood for is then closed, not absent. */
  readonly corrupt?: string;
}

type Named = { readonly name: string; readonly namespace?: string };

/**
 * From resources, in whatever order they come, to what one node must enforce and reach. The outcome depends on the
 * resources alone (architecture.md, invariant 6). Updates are filed as they come; only sets x labels and policies x
 * local endpoints are kept pair by pair, the rest is read off when `state()` asks.
 *
 *     WorkloadEndpoint, NetworkSet ─► Inheritance ─┬─► ActiveSets ◄── sets in use ──┐
 *     Profile ─ labels ──────────────────▲         └─► PolicyTable (local ones) ────┤
 *     NetworkPolicy, GlobalNetworkPolicy, Tier ────────────▲                        │
 *     Profile ─ rules ─► ProfileTable (those that local endpoints name) ────────────┘
 *     IPPool, BlockAffinity, Node, FelixConfiguration ─► Cluster
 */
export class Calc {
  readonly #node: string;
  readonly #sets = new ActiveSets();
  readonly #workloads = new Workloads();
  readonly #hosts = new HostEndpoints();
  readonly #ownBlocks = new OwnBlocks();
  readonly #floating = new FloatingTable();
  readonly #policies = new PolicyTable(this.#sets, (id) => {
    this.#workloads.forget(id);
    this.#hosts.forget(id);
  });
  readonly #profiles = new ProfileTable(this.#sets);
  readonly #resolvers = new ResolverSets(this.#sets);
  readonly #labels = new Inheritance<Contribution>((id, labels, payload) => this.#label(id, labels, payload));
  readonly #cluster: Cluster;
  /** Endpoints that are among those of this node in the sets. */
  readonly #localMembers = new Set<string>();
  readonly #corrupt = new Map<string, Problem>();
  #problems: readonly Problem[] | undefined;
  #state: NodeState | undefined;

  constructor(node: string) {
    this.#node = node;
    this.#cluster = new Cluster(node);
  }

  /** Takes in changes. Keys that are no resource's are ignored. */
  apply(updates: readonly Update[]): void {
    for (const update of updates) {
      const name = parseKey(update.key);
      if (!name) continue;
      this.#noteCorrupt(update);
      if (name.kind === "Node") this.#setNode(update);
      if (isClusterKind(name.kind)) this.#cluster.set(name.kind, name.name, update.value);
      else this.#applyPolicyKind(name.kind, name, update);
    }
  }

  /** What the kernel says of the node's interfaces, for host endpoints that are found by address. */
  setInterfaces(interfaces: InterfaceAddresses): void {
    this.#hosts.setInterfaces(interfaces);
  }

  /** The addresses that DNS gave for a domain, none to forget it. Only what rules here mean needs to be told (`domainMeant`). */
  setDomain(domain: string, addresses: readonly Address[]): void {
    const id = `domain:${domain}`;
    if (addresses.length === 0) this.#sets.deleteItem(id);
    else this.#sets.setItem(id, domainLabels(domain), domainContribution(addresses));
  }

  /** Whether any rule here names a domain, in full or by a wildcard. */
  domainMeant(domain: string): "in full" | "by wildcard" | undefined {
    return domainMeant(domain, this.#sets.domains.values());
  }

  /** The domains and wildcards that rules here name. */
  domainsMeant(): readonly string[] {
    return domainsIn(this.#sets.domains.values());
  }

  /** The whole desired state; the same object as long as nothing in it changed. */
  state(): NodeState {
    this.#sets.doubts = doubtsOf(this.#corrupt.keys(), this.#labels);
    const policies = this.#policies.compiled();
    const profiles = this.#profiles.compiled();
    const { podCidrs, ...facts } = this.#cluster.facts();
    const endpoints = this.#workloads.resolve({
      maySpoof: facts.config.workloadSourceSpoofing === "Any",
      floatingOf: facts.config.floatingIPs === "Enabled" ? (id) => this.#floating.of(id) : undefined,
      tiersOf: (id) => this.#policies.tiersOf(id),
      hasProfile: (name) => this.#profiles.has(name),
    });
    const hostEndpoints = this.#hosts.resolve({
      hostTiersOf: (id) => this.#policies.hostTiersOf(id),
      hasProfile: (name) => this.#profiles.has(name),
    });
    const blocks = this.#ownBlocks.of(facts.blocks, podCidrs, endpoints);
    const parts = {
      ...facts,
      resolvers: this.#resolvers.of(facts.config),
      blocks,
      endpoints,
      hostEndpoints,
      policies,
      profiles,
      sets: this.#sets.snapshot(),
    };
    const old = this.#state;
    const isSame =
      old &&
      this.#problems &&
      (Object.keys(parts) as (keyof typeof parts)[]).every((k) => parts[k] === old[k]);
    if (isSame) return old;
    this.#problems = this.#collectProblems(parts);
    this.#state = { node: this.#node, ...parts, problems: this.#problems };
    return this.#state;
  }

  #applyPolicyKind(kind: string, name: Named, { key, value, corrupt }: Update): void {
    if (kind === "WorkloadEndpoint") this.#setEndpoint(name, value);
    else if (kind === "HostEndpoint") this.#setHostEndpoint(name.name, value);
    else if (kind === "NetworkPolicy" || kind === "GlobalNetworkPolicy")
      this.#setPolicy(name, { value, corrupt });
    else if (
      kind === "StagedNetworkPolicy" ||
      kind === "StagedGlobalNetworkPolicy" ||
      kind === "StagedKubernetesNetworkPolicy"
    )
      this.#setStaged(read.stagedId(kind, name.name, name.namespace), value);
    else if (kind === "Tier")
      this.#policies.setTier(name.name, value?.kind === "Tier" ? read.readTier(value) : undefined);
    else if (kind === "Profile") this.#setProfile(name.name, { value, corrupt });
    else if (kind === "EndpointSlice") this.#setSlice({ key, ...(value && { value }) });
    else if (kind === "NetworkSet" || kind === "GlobalNetworkSet") this.#setNetworkSet({ key, value });
  }

  #setEndpoint({ namespace, name }: Named, value: AnyResource | undefined): void {
    const id = `${namespace}/${name}`;
    const endpoint = value?.kind === "WorkloadEndpoint" ? value : undefined;
    for (const other of this.#floating.set(id, endpoint && floatingClaim(endpoint)))
      if (this.#workloads.has(other)) this.#workloads.forget(other);
    this.#setLocal(id, endpoint?.spec.node === this.#node ? endpoint : undefined);
    if (!endpoint) {
      this.#labels.deleteItem(id);
      this.#deleteMember(id);
      return;
    }
    const payload = read.endpointContribution(endpoint);
    this.#labels.setItem(id, read.endpointLabels(endpoint), { profiles: endpoint.spec.profiles, payload });
  }

  #setLocal(id: string, endpoint: WorkloadEndpoint | undefined): void {
    const before = this.#workloads.profilesOf(id);
    if (endpoint) this.#workloads.set(read.readEndpoint(id, endpoint));
    else {
      this.#workloads.delete(id);
      this.#policies.deleteEndpoint(id);
    }
    this.#profiles.moveUser(before, endpoint?.spec.profiles ?? []);
  }

  #setHostEndpoint(name: string, value: AnyResource | undefined): void {
    const id = read.hostEndpointId(name);
    const endpoint = value?.kind === "HostEndpoint" ? value : undefined;
    const local = endpoint?.spec.node === this.#node ? endpoint : undefined;
    this.#profiles.moveUser(this.#hosts.profilesOf(id), local?.spec.profiles ?? []);
    this.#hosts.set(id, local && read.readHostEndpoint(local));
    if (!local) this.#policies.deleteEndpoint(id);
    if (endpoint) {
      const payload = read.endpointContribution(endpoint);
      this.#labels.setItem(id, read.hostEndpointLabels(endpoint), {
        profiles: endpoint.spec.profiles,
        payload,
      });
      return;
    }
    this.#labels.deleteItem(id);
    this.#deleteMember(id);
  }

  #deleteMember(id: string): void {
    this.#sets.deleteItem(id);
    this.#deleteLocalMember(id);
  }

  #deleteLocalMember(id: string): void {
    if (this.#localMembers.delete(id)) this.#sets.deleteItem(localItem(id));
  }

  /** Nodes and slices are found by their own labels alone. */
  #setNode({ key, value }: Update): void {
    if (value?.kind === "Node")
      this.#sets.setItem(key, value.metadata.labels ?? {}, read.nodeContribution(value));
    else this.#sets.deleteItem(key);
  }

  #setSlice({ key, value }: Update): void {
    const slice = value?.kind === "EndpointSlice" ? value : undefined;
    const labels = serviceLabels(`${slice?.metadata.namespace}/${slice?.spec.service}`);
    if (slice) this.#sets.setItem(key, labels, read.sliceContribution(slice));
    else this.#sets.deleteItem(key);
  }

  #setNetworkSet({ key, value }: Pick<Update, "key" | "value">): void {
    if (value?.kind !== "NetworkSet" && value?.kind !== "GlobalNetworkSet") {
      this.#labels.deleteItem(key);
      this.#sets.deleteItem(key);
      return;
    }
    const profiles = value.kind === "NetworkSet" ? [`kns.${value.metadata.namespace}`] : [];
    this.#labels.setItem(key, read.networkSetLabels(value), {
      profiles,
      payload: read.networkSetContribution(value),
    });
  }

  /** Labels of an endpoint or network set, inherited ones included, are new; unknown ones select nothing (`Doubt`). */
  #label(id: string, labels: Labels | undefined, contribution: Contribution): void {
    if (!labels) {
      this.#deleteMember(id);
      this.#policies.deleteEndpoint(id);
      return;
    }
    this.#sets.setItem(id, labels, contribution);
    if (!this.#workloads.has(id) && !this.#hosts.has(id)) {
      this.#deleteLocalMember(id);
      return;
    }
    this.#localMembers.add(id);
    this.#sets.setItem(localItem(id), labels, { ...contribution, among: "local" });
    this.#policies.setEndpoint(id, labels);
  }

  #setPolicy({ name, namespace }: Named, { value, corrupt }: Omit<Update, "key">): void {
    const id = read.policyId(name, namespace);
    if (corrupt !== undefined) this.#policies.setPolicy(id, read.unreadablePolicy(name, namespace, corrupt));
    else if (value?.kind === "NetworkPolicy" || value?.kind === "GlobalNetworkPolicy")
      this.#policies.setPolicy(id, read.readPolicy(value));
    else this.#policies.deletePolicy(id);
  }

  /** One that cannot be read stages nothing: it would not be enforced either. */
  #setStaged(id: string, value: AnyResource | undefined): void {
    const isStaged =
      value?.kind === "StagedNetworkPolicy" ||
      value?.kind === "StagedGlobalNetworkPolicy" ||
      value?.kind === "StagedKubernetesNetworkPolicy";
    const staged = isStaged ? read.readStaged(value) : undefined;
    if (staged?.policy) this.#policies.setPolicy(id, staged.policy);
    else {
      this.#policies.deletePolicy(id);
      this.#policies.setInstead(id, staged?.instead);
    }
  }

  #setProfile(name: string, { value, corrupt }: Omit<Update, "key">): void {
    const profile = value?.kind === "Profile" ? value : undefined;
    const isNews = this.#profiles.has(name) !== (profile !== undefined);
    this.#profiles.set(name, profile && read.readProfile(profile));
    if (isNews) this.#workloads.forgetProfile(name);
    if (isNews) this.#hosts.forgetAll();
    const labels = profile && (profile.spec.labelsToApply ?? {});
    this.#labels.setProfile(name, corrupt === undefined ? labels : "unreadable");
  }

  #noteCorrupt({ key, corrupt }: Update): void {
    const isNews =
      corrupt === undefined
        ? this.#corrupt.delete(key)
        : this.#corrupt.set(key, { subject: key, why: corrupt });
    if (isNews) this.#problems = undefined;
  }

  #collectProblems({ policies, profiles }: Pick<NodeState, "policies" | "profiles">): readonly Problem[] {
    const compiled = [...partsOf(policies).values(), ...partsOf(profiles).values()];
    const all = [
      ...this.#corrupt.values(),
      ...compiled.flatMap(problemsIn),
      ...this.#workloads.problems(),
      ...this.#hosts.problems(),
    ];
    return all.sort((a, b) => compareText(a.subject, b.subject) || compareText(a.why, b.why));
  }
}

const problemsIn = oncePer((policies: ReadonlyMap<string, CompiledPolicy>): readonly Problem[] =>
  [...policies.values()].flatMap(({ id, problem, outdated }) => [
    ...(problem !== undefined ? [{ subject: id, why: problem }] : []),
    ...(outdated !== undefined ? [{ subject: id, why: outdated, isInForce: true as const }] : []),
  ]),
);

/** An endpoint of this node once more, among these alone. */
const localItem = (id: string): string => `local:${id}`;
