import { type CompiledPolicy, closed, type LocalEndpoint, type NodeState } from "@margay/calc";
import { IptablesError } from "@margay/iptables";
import { NetlinkError } from "@margay/netlink";
import { chains } from "./render/names.ts";

/** What the kernel answers about a rule itself; all else (ENOMEM, ENOBUFS, EINTR) says that it could not, and may at the next try. */
const JUDGEMENTS: ReadonlySet<string> = new Set([
  ...["EINVAL", "ENOENT", "ERANGE", "E2BIG", "EOVERFLOW", "EDOM", "ENXIO", "EMLINK", "ELOOP", "ENAMETOOLONG"],
  ...["EOPNOTSUPP", "EPROTONOSUPPORT", "EAFNOSUPPORT"],
]);

/** The name, as the renderer has it, of the chain of which the kernel or a tool refused a rule; undefined where the error names none. */
export function refusedChain(error: unknown): string | undefined {
  if (error instanceof IptablesError)
    return error.code === "rejected" ? /^-[AI] (\S+)/.exec(error.facts.text ?? "")?.[1] : undefined;
  if (!(error instanceof NetlinkError) || !JUDGEMENTS.has(error.code)) return undefined;
  const name = /^add rule .* to chain \w+?-(\S+) \(IPv[46]\)$/.exec(error.request)?.[1];
  return name === undefined ? undefined : `margay-${name}`;
}

/** Whether the kernel or a tool said no, or nothing: not the renderer. */
export const isOfKernel = (error: unknown): boolean =>
  error instanceof IptablesError || error instanceof NetlinkError;

/**
 * Policies and endpoints whose rules cannot be made, or the packet filter does not take. They are closed instead, and named as problems, so that
 * one of them does not keep all others from being enforced. Another version of a policy or endpoint is another object, and tried.
 */
export class Refused {
  /** What stands for each. */
  readonly #policies = new Map<CompiledPolicy, CompiledPolicy>();
  readonly #endpoints = new Map<LocalEndpoint, { readonly closed: LocalEndpoint; readonly why: string }>();
  /** Why DNS answers are not seen: the addresses of domains stay unknown, and nothing is allowed by them. */
  #deaf: string | undefined;
  #last: { readonly of: NodeState; readonly enforced: NodeState } | undefined;

  /** All are tried again. */
  forget(): void {
    this.#policies.clear();
    this.#endpoints.clear();
    this.#deaf = undefined;
    this.#last = undefined;
  }

  /** Closes the policy, profile or endpoint whose chain it is. @returns false if it is nobody's, or was closed already */
  blame(chain: string, why: string, { policies, profiles, endpoints }: NodeState): boolean {
    if (chain === chains.dnsAnswers && this.#deaf === undefined) {
      this.#deaf = why;
      this.#last = undefined;
      return true;
    }
    const all = [...policies.values(), ...profiles.values()];
    const policy = all.find(({ id }) => [chains.ingress(id), chains.egress(id)].includes(chain));
    const endpoint = endpoints.find(({ interfaceName }) => ownChains(interfaceName).includes(chain));
    const guilty = [policy, endpoint].filter((one) => one !== undefined);
    if (guilty.length === 0 || guilty.some((one) => this.#isClosed(one))) return false;
    for (const one of guilty) this.#close(one, `the packet filter refused a rule: ${why}`);
    return true;
  }

  /**
   * Closes a policy, profile or endpoint for which `render` throws: of all, in their order, the first that is one too many.
   * @returns false if `render` throws whoever is closed, or not at all
   */
  blameRendered(state: NodeState, render: (state: NodeState) => void): boolean {
    // A policy that no open endpoint is under is not rendered.
    const all = [...state.endpoints, ...state.policies.values(), ...state.profiles.values()].filter(
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

  #isClosed(one: CompiledPolicy | LocalEndpoint): boolean {
    return "interfaceName" in one ? this.#endpoints.has(one) : this.#policies.has(one);
  }

  #close(one: CompiledPolicy | LocalEndpoint, why: string): void {
    if ("interfaceName" in one) this.#endpoints.set(one, { closed: bare(one), why });
    else this.#policies.set(one, closed(one, why));
    this.#last = undefined;
  }

  /** What can be enforced of a state: the same object while nothing of it is refused, or the same as the last time. */
  enforced(state: NodeState): NodeState {
    if (this.#policies.size + this.#endpoints.size === 0 && this.#deaf === undefined) return state;
    if (this.#last?.of === state) return this.#last.enforced;
    const { of, enforced } = this.#last ?? {};
    const kept = <K extends "policies" | "profiles" | "endpoints">(part: K, make: () => NodeState[K]) =>
      enforced && of?.[part] === state[part] ? enforced[part] : make();
    this.#forgetFormer(state);
    const parts = {
      policies: kept("policies", () => this.#closedIn(state.policies)),
      profiles: kept("profiles", () => this.#closedIn(state.profiles)),
      endpoints: kept("endpoints", () =>
        state.endpoints.map((one) => this.#endpoints.get(one)?.closed ?? one),
      ),
    };
    const resolvers = this.#deaf === undefined ? state.resolvers : undefined;
    const made = { ...state, ...parts, resolvers, problems: [...state.problems, ...this.#problems()] };
    this.#last = { of: state, enforced: made };
    return made;
  }

  #closedIn(all: NodeState["policies"]): NodeState["policies"] {
    return new Map([...all].map(([key, policy]) => [key, this.#policies.get(policy) ?? policy]));
  }

  #problems(): NodeState["problems"] {
    return [
      ...[...this.#policies.values()].map(({ id, problem = "" }) => ({ subject: id, why: problem })),
      ...[...this.#endpoints].map(([{ id }, { why }]) => ({ subject: id, why })),
      ...(this.#deaf === undefined
        ? []
        : [{ subject: "domains", why: `DNS answers are not seen: ${this.#deaf}` }]),
    ];
  }

  /** Versions that are no longer wanted. */
  #forgetFormer({ policies, profiles, endpoints }: NodeState): void {
    const there = new Set<CompiledPolicy | LocalEndpoint>([
      ...policies.values(),
      ...profiles.values(),
      ...endpoints,
    ]);
    for (const one of this.#policies.keys()) if (!there.has(one)) this.#policies.delete(one);
    for (const one of this.#endpoints.keys()) if (!there.has(one)) this.#endpoints.delete(one);
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
