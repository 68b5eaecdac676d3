import { and, type Labels, type Selector, SelectorError } from "@margay/api";
import type { ActiveSets } from "./active-sets.ts";
import { Compilations } from "./compilations.ts";
import type { PolicySource } from "./compile.ts";
import type { CompiledPolicy, Direction, HostTiers, StagedHostTiers, TierPolicies } from "./model.ts";
import { BUILT_IN_TIERS, byTier, type Rank, type TierSettings } from "./order.ts";
import { type PolicyScope, policySelector } from "./scope.ts";
import { SelectorIndex } from "./selector-index.ts";

/** A policy as written: where it stands, whom it selects, in which directions, and its rules. */
export interface Policy {
  readonly rank: Rank;
  readonly scope: PolicyScope;
  readonly directions: readonly Direction[];
  readonly source: PolicySource;
  /** Where host endpoints ask it; workloads ask those of `normal` alone. */
  readonly stage: "normal" | "untracked" | "preDnat";
  /** Whether host endpoints ask it of what they forward, too. */
  readonly onForward: boolean;
  /** Of a policy that is not enforced: the one that it would take the place of. */
  readonly staged?: { readonly instead: string };
}

type BothWays = Readonly<Record<Direction, readonly TierPolicies[]>>;
export interface Tiers extends BothWays {
  /** With staged policies, where they make a difference. */
  readonly staged?: BothWays;
}

/** All policies of the cluster against the endpoints of this node. */
export class PolicyTable {
  readonly #policies = new Map<string, Policy>();
  readonly #tiers = new Map<string, TierSettings>();
  readonly #compiled: Compilations;
  /** Policies that were written anew, and those that began or ended to select some endpoint. */
  readonly #stale = new Set<string>();
  readonly #moved = new Set<string>();
  readonly #tiersOf = new Map<string, Tiers>();
  /** The staged policies that each enforced one would give way to, or be deleted by. */
  readonly #instead = new Map<string, Set<string>>();
  readonly #changedEndpoint: (id: string) => void;
  readonly #index = new SelectorIndex({
    matched: (policy, endpoint) => this.#pairChanged(policy, endpoint),
    unmatched: (policy, endpoint) => this.#pairChanged(policy, endpoint),
  });

  /** `changedEndpoint` is told of each endpoint whose policies may have changed. */
  constructor(sets: ActiveSets, changedEndpoint: (id: string) => void) {
    this.#compiled = new Compilations(sets);
    this.#changedEndpoint = changedEndpoint;
  }

  setPolicy(id: string, written: Policy): void {
    const { policy, selector } = resolve(written);
    this.#index.deleteSelector(id);
    this.setInstead(id, policy.staged?.instead);
    this.#policies.set(id, policy);
    this.#index.addSelector(id, selector);
    this.#stale.add(id);
  }

  deletePolicy(id: string): void {
    this.#index.deleteSelector(id);
    this.setInstead(id, undefined);
    this.#policies.delete(id);
    this.#stale.add(id);
  }

  /** Staging `id` is staging that policy `instead` is not there; undefined: no more. */
  setInstead(id: string, instead: string | undefined): void {
    for (const [policy, by] of this.#instead) {
      if (policy === instead || !by.delete(id)) continue;
      if (by.size === 0) this.#instead.delete(policy);
      this.#forgetAll(policy);
    }
    if (instead === undefined) return;
    this.#instead.set(instead, (this.#instead.get(instead) ?? new Set()).add(id));
    this.#forgetAll(instead);
  }

  /** Undefined: there is no such tier; a policy in it then denies. Built-in tiers are fixed. */
  setTier(name: string, tier: TierSettings | undefined): void {
    if (BUILT_IN_TIERS.has(name)) return;
    if (tier) this.#tiers.set(name, tier);
    else this.#tiers.delete(name);
    for (const [id, { rank }] of this.#policies) {
      if (rank.tier !== name) continue;
      this.#stale.add(id);
      this.#forgetAll(id);
    }
  }

  setEndpoint(id: string, labels: Labels): void {
    this.#index.setItem(id, labels);
  }

  deleteEndpoint(id: string): void {
    this.#index.deleteItem(id);
    this.#tiersOf.delete(id);
  }

  /** The policies that select an endpoint, in order. */
  tiersOf(endpoint: string): Tiers {
    const known = this.#tiersOf.get(endpoint);
    if (known) return known;
    const policies = this.#policiesOf(endpoint);
    const enforced = this.#bothWays(policies.filter(({ staged }) => !staged));
    const isStaged = policies.some(({ staged, rank }) => staged || this.#instead.has(rank.id));
    const staged = isStaged && {
      staged: this.#bothWays(policies.filter(({ rank }) => !this.#instead.has(rank.id))),
    };
    const tiers: Tiers = { ...enforced, ...staged };
    this.#tiersOf.set(endpoint, tiers);
    return tiers;
  }

  /** Those of a host endpoint, by where they are asked. */
  hostTiersOf(endpoint: string): HostTiers & { readonly staged?: StagedHostTiers } {
    const all = this.#policiesOf(endpoint);
    const policies = all.filter(({ staged }) => !staged);
    const would = all.filter(({ rank, stage }) => stage === "normal" && !this.#instead.has(rank.id));
    const isStaged = all.some(({ staged, rank }) => staged || this.#instead.has(rank.id));
    const at = (stage: Policy["stage"]) => policies.filter((policy) => policy.stage === stage);
    const undecided = (tiers: readonly TierPolicies[]) =>
      tiers.map((tier) => ({ ...tier, defaultAction: "pass" as const }));
    const [untracked, preDnat] = [this.#bothWays(at("untracked")), this.#bothWays(at("preDnat"))];
    return {
      normal: this.#bothWays(at("normal")),
      forward: this.#bothWays(at("normal").filter(({ onForward }) => onForward)),
      ...(isStaged && {
        staged: {
          normal: this.#bothWays(would),
          forward: this.#bothWays(would.filter(({ onForward }) => onForward)),
        },
      }),
      untracked: { ingress: undecided(untracked.ingress), egress: undecided(untracked.egress) },
      preDnat: { ingress: undecided(preDnat.ingress), egress: undecided(preDnat.egress) },
    };
  }

  #policiesOf(endpoint: string): readonly Policy[] {
    const ids = [...this.#index.selectorsOf(endpoint)];
    return ids.map((id) => this.#policies.get(id)).filter((policy) => policy !== undefined);
  }

  #bothWays(policies: readonly Policy[]): BothWays {
    const inDirection = (direction: Direction) =>
      byTier(
        policies.filter(({ directions }) => directions.includes(direction)).map(({ rank }) => rank),
        this.#tier,
      );
    return { ingress: inDirection("ingress"), egress: inDirection("egress") };
  }

  /** The compiled policies that select at least one endpoint here. */
  compiled(): ReadonlyMap<string, CompiledPolicy> {
    for (const id of this.#moved) if (this.#isActive(id) !== this.#compiled.has(id)) this.#stale.add(id);
    for (const id of this.#stale) {
      const policy = this.#isActive(id) ? this.#policies.get(id) : undefined;
      this.#compiled.set(id, policy && this.#sourceOf(policy));
    }
    this.#moved.clear();
    this.#stale.clear();
    return this.#compiled.snapshot();
  }

  #isActive(id: string): boolean {
    return this.#index.itemsOf(id).size > 0;
  }

  #sourceOf({ rank, source }: Policy): PolicySource {
    if (source.problem !== undefined || this.#tier(rank.tier)) return source;
    return { ...source, problem: `there is no tier ${rank.tier}` };
  }

  readonly #tier = (name: string): TierSettings | undefined =>
    BUILT_IN_TIERS.get(name) ?? this.#tiers.get(name);

  #pairChanged(policy: string, endpoint: string): void {
    this.#moved.add(policy);
    this.#forget(endpoint);
  }

  #forgetAll(policy: string): void {
    for (const endpoint of this.#index.itemsOf(policy)) this.#forget(endpoint);
  }

  #forget(endpoint: string): void {
    this.#tiersOf.delete(endpoint);
    this.#changedEndpoint(endpoint);
  }
}

/** A selector that cannot be read selects all that the policy could mean, which then denies. */
function resolve(policy: Policy): { policy: Policy; selector: Selector } {
  try {
    const selector = policySelector(policy.scope);
    return { policy, selector: policy.stage === "normal" ? selector : and([{ kind: "global" }, selector]) };
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error;
    const { namespace } = policy.scope;
    const selector = policySelector(namespace !== undefined ? { namespace } : {});
    return { policy: { ...policy, source: { ...policy.source, problem: error.message } }, selector };
  }
}
