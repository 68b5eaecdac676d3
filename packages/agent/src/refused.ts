import {
  type CompiledPolicy,
  closed,
  type LocalEndpoint,
  type LocalHostEndpoint,
  type NodeState,
} from "@margay/calc";
import { IptablesError } from "@margay/iptables";
import { NetlinkError } from "@margay/netlink";
import { chains } from "./render/names.ts";
import { type Feature, featureOf } from "./without.ts";

/** What the kernel answers about a rule itself; all else (ENOMEM, ENOBUFS, EINTR) says that it could not, and may at the next try. */
const JUDGEMENTS: ReadonlySet<string> = new Set([
  ...["EINVAL", "ENOENT", "ERANGE", "E2BIG", "EOVERFLOW", "EDOM", "ENXIO", "EMLINK", "ELOOP", "ENAMETOOLONG"],
  ...["EOPNOTSUPP", "EPROTONOSUPPORT", "EAFNOSUPPORT"],
]);

/**
 * The name, as the renderer has it, of the chain of which the kernel or a tool refused a rule; undefined where the error names none. A
 * workload's rule where it is dispatched counts as one of the workload's own chain.
 */
export function refusedChain(error: unknown): string | undefined {
  if (error instanceof IptablesError) {
    if (error.code !== "rejected") return undefined;
    const [, chain = "", word, interfaceName = ""] =
      /^-[AI] (\S+)(?: \d+)?(?: -m comment --comment (?:"(?:[^"\\]|\\.)*"|\S+))?(?: -([io]) (\S+))?/.exec(
        error.facts.text ?? "",
      ) ?? [];
    if (!DISPATCHING.test(chain) || word === undefined) return chain || undefined;
    return word === "i" ? chains.from(interfaceName) : chains.to(interfaceName);
  }
  if (!(error instanceof NetlinkError) || !JUDGEMENTS.has(error.code)) return undefined;
  const name = /^add rule .* to chain \w+?-(\S+) \(IPv[46]\)$/.exec(error.request)?.[1];
  return name === undefined ? undefined : `margay-${name}`;
}

const DISPATCHING = /^margay-(from-wl$|to-wl$|fd-|td-)/;

/** Whether the kernel or a tool said no, or nothing: not the renderer. */
export const isOfKernel = (error: unknown): boolean =>
  error instanceof IptablesError || error instanceof NetlinkError;

type Endpoint = LocalEndpoint | LocalHostEndpoint;
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
   * Closes the policy, profile or endpoint whose chain it is, or gives up what the chain is for.
   * @returns false if it is nobody's, or was closed already
   */
  blame(chain: string, why: string, state: NodeState): boolean {
    const feature = featureOf(chain, why);
    if (feature) return this.#giveUp(feature, why, state);
    const { policies, profiles, endpoints, hostEndpoints } = state;
    const all = [...policies.values(), ...profiles.values()];
    const policy = all.find(({ id }) => [chains.ingress(id), chains.egress(id)].includes(chain));
    const endpoint = endpoints.find(({ interfaceName }) => ownChains(interfaceName).includes(chain));
    const host = hostEndpoints.find(({ interfaceName }) => hostChains(interfaceName).includes(chain));
    const guilty = [policy, endpoint, host].filter((one) => one !== undefined);
    if (guilty.length === 0 || guilty.some((one) => this.#isClosed(one))) return false;
    for (const one of guilty) this.#close(one, `the packet filter refused a rule: ${why}`);
    return true;
  }

  #giveUp(feature: Feature, why: string, { config }: NodeState): boolean {
    if (this.#settings === config && this.#without.has(feature.subject)) return false;
    this.#forgetSettings(config);
    this.#without.set(feature.subject, { feature, why });
    this.#last = undefined;
    return true;
  }

  /**
   * Closes a policy, profile or endpoint for which `render` throws: of all, in their order, the first that is one too many.
   * @returns false if `render` throws whoever is closed, or not at all
   */
  blameRendered(state: NodeState, render: (state: NodeState) => void): boolean {
    // A policy that no open endpoint is under is not rendered.
    const { endpoints, hostEndpoints, policies, profiles } = state;
    const all = [...endpoints, ...hostEndpoints, ...policies.values(), ...profiles.values()].filter(
      (one) => !this.#isClosed(one),
    );
    const whyNot = (open: number): unknown => {
      const trial = new Refused();
      for (const [one, its] of this.#policies) trial.#policies.set(one, its);
      for (const [one, its] of this.#endpoints) trial.#endpoints.set(one, its);
      for (const one of all.slice(open)) trial.#close(one, "");
      try {
        render(trial.enforced(state));
        return undefined;
      } catch (error) {
        return error;
      }
    };
    let [good, bad] = [0, all.length];
    if (whyNot(bad) === undefined || whyNot(good) !== undefined) return false;
    while (bad - good > 1) {
      const middle = Math.floor((good + bad) / 2);
      if (whyNot(middle) === undefined) good = middle;
      else bad = middle;
    }
    const culprit = all[good];
    if (culprit) this.#close(culprit, `its rules cannot be made: ${String(whyNot(bad))}`);
    return culprit !== undefined;
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

const ownChains = (interfaceName: string): readonly string[] =>
  [
    chains.from,
    chains.to,
    chains.sources,
    chains.connections,
    chains.rateFrom,
    chains.rateTo,
    chains.codePoint,
    chains.reversePath,
  ].map((name) => name(interfaceName));

/** Its traffic is dropped, and nothing else is asked of the packet filter. */
function bare({ packetRate, connectionLimit, dscp, ...endpoint }: LocalEndpoint): LocalEndpoint {
  return { ...endpoint, spoofable: [], ok: false };
}

const HOST_PLACES = ["ui", "uo", "pi", "i", "o", "fi", "fo"] as const;

const hostChains = (interfaceName: string): readonly string[] =>
  HOST_PLACES.map((place) => chains.host(place, interfaceName));

const NOBODY = { ingress: [], egress: [] } as const;

/** All is dropped but failsafe ports. */
const bareHost = ({ staged, ...endpoint }: LocalHostEndpoint): LocalHostEndpoint => ({
  ...endpoint,
  ...{ normal: NOBODY, forward: NOBODY, untracked: NOBODY, preDnat: NOBODY },
  ok: false,
});
