import {
  type CompiledPolicy,
  closed,
  type LocalEndpoint,
  type LocalHostEndpoint,
  type NodeState,
} from "@margay/calc";
import { decisionKey } from "./cohorts.ts";
import { type Feature, featuresOf } from "./without.ts";

type Endpoint = LocalEndpoint | LocalHostEndpoint;
/** What `blame` asks. */
export interface Inquiry {
  /** Why a state cannot be enforced, for people; undefined if it can. */
  readonly whyNot: (state: NodeState) => string | undefined;
  /** Settings that the packet filter took. */
  readonly good?: NodeState["config"] | undefined;
}

type Closable = "policies" | "profiles" | "endpoints" | "hostEndpoints";

/**
 * Policies and endpoints whose rules cannot be made, or the packet filter does not take. They are closed instead, and named as problems, so that
 * one of them does not keep all others from being enforced. Another version of a policy or endpoint is another object, and tried. What
 * settings ask for besides is done without, until there are others.
 */
export class Refused {
  /** What stands for each. */
  readonly #policies = new Map<CompiledPolicy, CompiledPolicy>();
  readonly #endpoints = new Map<Endpoint, { readonly closed: Endpoint; readonly why: string }>();
  /** What of these settings is done without, by subject. */
  readonly #without = new Map<string, { readonly feature: Feature; readonly why: string }>();
  #settings: NodeState["config"] | undefined;
  /** `open`: before what settings ask for is left out. */
  #last:
    | { readonly of: NodeState; readonly open: Pick<NodeState, Closable>; readonly enforced: NodeState }
    | undefined;

  /** All are tried again. */
  forget(): void {
    this.#policies.clear();
    this.#endpoints.clear();
    this.#without.clear();
    this.#last = undefined;
  }

  /**
   * Finds who brings it about that a state cannot be enforced, and closes him, or leaves out what the settings ask for. Of all policies and
   * endpoints, in their order, it is the first that is one too many; a setting, where another value cures it.
   * @returns false if nothing of that helps, or nothing is wrong
   */
  blame(state: NodeState, { whyNot, good }: Inquiry): boolean {
    const { endpoints, hostEndpoints, policies, profiles } = state;
    // A policy that no open endpoint is under is not rendered.
    const all = [...endpoints, ...hostEndpoints, ...policies.values(), ...profiles.values()].filter(
      (one) => !this.#isClosed(one),
    );
    const trial = (open: number) => this.#withClosed(all.slice(open)).enforced(state);
    const isBad = (open: number) => whyNot(trial(open)) !== undefined;
    if (!isBad(all.length)) return false;
    const last = isBad(0) ? -1 : firstTooMany(all.length, isBad);
    const least = trial(last + 1);
    const why = whyNot(least) ?? "";
    const cure = featuresOf(least, good).find(
      ({ without }) => whyNot({ ...least, ...without(least) }) === undefined,
    );
    if (cure) return this.#giveUp(cure, why, state);
    const culprit = all[last];
    if (!culprit) return false;
    this.#close(culprit, why);
    if (isWorkload(culprit) && whyNot(this.enforced(state)) === why)
      for (const one of endpoints)
        if (!this.#isClosed(one) && decisionKey(one) === decisionKey(culprit)) this.#close(one, why);
    return true;
  }

  #withClosed(some: readonly (CompiledPolicy | Endpoint)[]): Refused {
    const trial = new Refused();
    for (const [one, its] of this.#policies) trial.#policies.set(one, its);
    for (const [one, its] of this.#endpoints) trial.#endpoints.set(one, its);
    for (const [subject, its] of this.#without) trial.#without.set(subject, its);
    trial.#settings = this.#settings;
    for (const one of some) trial.#close(one, "");
    return trial;
  }

  #giveUp(feature: Feature, why: string, { config }: NodeState): boolean {
    this.#forgetSettings(config);
    this.#without.set(feature.subject, { feature, why });
    this.#last = undefined;
    return true;
  }

  #isClosed(one: CompiledPolicy | Endpoint): boolean {
    return "interfaceName" in one ? this.#endpoints.has(one) : this.#policies.has(one);
  }

  #close(one: CompiledPolicy | Endpoint, why: string): void {
    if ("interfaceName" in one)
      this.#endpoints.set(one, { closed: "normal" in one ? bareHost(one) : bare(one), why });
    else this.#policies.set(one, closed(one, why));
    this.#last = undefined;
  }

  /** What can be enforced of a state: the same object while nothing of it is refused, or the same as the last time. */
  enforced(state: NodeState): NodeState {
    if (this.#last?.of === state) return this.#last.enforced;
    if (this.#isNothing) return state;
    this.#forgetFormer(state);
    if (this.#isNothing) return state;
    const { of, open } = this.#last ?? {};
    const kept = <K extends Closable>(part: K, make: () => NodeState[K]) =>
      open && of?.[part] === state[part] ? open[part] : make();
    const parts = {
      policies: kept("policies", () => this.#closedIn(state.policies)),
      profiles: kept("profiles", () => this.#closedIn(state.profiles)),
      endpoints: kept("endpoints", () => state.endpoints.map((one) => this.#closedOr(one))),
      hostEndpoints: kept("hostEndpoints", () => state.hostEndpoints.map((one) => this.#closedOr(one))),
    };
    let enforced: NodeState = { ...state, ...parts, problems: [...state.problems, ...this.#problems()] };
    for (const { feature } of this.#without.values())
      enforced = { ...enforced, ...feature.without(enforced) };
    this.#last = { of: state, open: parts, enforced };
    return enforced;
  }

  get #isNothing(): boolean {
    return this.#policies.size + this.#endpoints.size + this.#without.size === 0;
  }

  #closedOr<E extends Endpoint>(one: E): E {
    return (this.#endpoints.get(one)?.closed as E | undefined) ?? one; // `#close` made it of the same
  }

  #closedIn(all: NodeState["policies"]): NodeState["policies"] {
    return new Map([...all].map(([key, policy]) => [key, this.#policies.get(policy) ?? policy]));
  }

  #problems(): NodeState["problems"] {
    return [
      ...[...this.#policies.values()].map(({ id, problem = "" }) => ({ subject: id, why: problem })),
      ...[...this.#endpoints].map(([{ id }, { why }]) => ({ subject: id, why })),
      ...[...this.#without.values()].map(({ feature: { subject, says }, why }) => ({
        subject,
        why: `${says}: ${why}`,
      })),
    ];
  }

  /** Versions that are no longer wanted. */
  #forgetFormer({ policies, profiles, endpoints, hostEndpoints, config }: NodeState): void {
    const there = new Set<CompiledPolicy | Endpoint>([
      ...policies.values(),
      ...profiles.values(),
      ...endpoints,
      ...hostEndpoints,
    ]);
    for (const one of this.#policies.keys()) if (!there.has(one)) this.#policies.delete(one);
    for (const one of this.#endpoints.keys()) if (!there.has(one)) this.#endpoints.delete(one);
    this.#forgetSettings(config);
  }

  /** Others may be taken. */
  #forgetSettings(config: NodeState["config"]): void {
    if (config !== this.#settings) this.#without.clear();
    this.#settings = config;
  }
}

/** Its traffic is dropped, and nothing else is asked of the packet filter. */
function bare({ packetRate, connectionLimit, dscp, ...endpoint }: LocalEndpoint): LocalEndpoint {
  return { ...endpoint, spoofable: [], ok: false };
}

const NOBODY = { ingress: [], egress: [] } as const;

/** All is dropped but failsafe ports. */
const bareHost = ({ staged, ...endpoint }: LocalHostEndpoint): LocalHostEndpoint => ({
  ...endpoint,
  ...{ normal: NOBODY, forward: NOBODY, untracked: NOBODY, preDnat: NOBODY },
  ok: false,
});

const isWorkload = (one: CompiledPolicy | Endpoint): one is LocalEndpoint =>
  "interfaceName" in one && !("normal" in one);

/** The place of the one with which a beginning gets bad, where none of them is good and all are bad. */
function firstTooMany(all: number, isBad: (many: number) => boolean): number {
  let [good, bad] = [0, all];
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (isBad(middle)) bad = middle;
    else good = middle;
  }
  return good;
}
