import type { LocalEndpoint, LocalHostEndpoint, NodeState, TierPolicies } from "@margay/calc";
import type { Counter } from "@margay/iptables";
import { Counter as Metric, type Registry } from "prom-client";

/** Reading the kernel's rules costs some 40 ms: within this the last reading answers. */
const MAX_AGE_MS = 5000;

export type Counts = ReadonlyMap<string, Counter>;

/** Packets and bytes by rule id, read from the kernel when somebody asks, and then not again for five seconds. */
export class RuleCounters {
  readonly #read: () => Promise<Counts>;
  readonly #now: () => number;
  #last: { readonly at: number; readonly counts: Promise<Counts> } | undefined;

  /** `now` in milliseconds. */
  constructor(read: () => Promise<Counts>, now: () => number) {
    this.#read = read;
    this.#now = now;
  }

  /** Throws what reading threw; the next one who asks tries anew. */
  counts(): Promise<Counts> {
    if (this.#last && this.#now() - this.#last.at < MAX_AGE_MS) return this.#last.counts;
    const counts = this.#read();
    this.#last = { at: this.#now(), counts };
    counts.catch(() => (this.#last = undefined));
    return counts;
  }
}

/** What the control socket answers to GET /counters: by rule id. */
export const showCounters = (counts: Counts): object => Object.fromEntries([...counts].sort());

/** What the control socket answers to GET /policies: the policies and profiles in force here, with their rules. */
export function showPolicies({ policies, profiles, endpoints, hostEndpoints }: NodeState): object[] {
  const used = [...endpoints.map(usedByWorkload), ...hostEndpoints.map(usedByHost)];
  const users = new Map<string | undefined, number>();
  for (const { policies: ids, profiles: named } of used)
    for (const id of [...ids, ...named.map((name) => profiles.get(name)?.id)])
      users.set(id, (users.get(id) ?? 0) + 1);
  return [...policies.values(), ...profiles.values()].map((policy) => ({
    id: policy.id,
    revision: policy.revision,
    problem: policy.problem,
    outdated: policy.outdated,
    staged: policy.isStaged,
    endpoints: users.get(policy.id) ?? 0,
    rules: [...policy.ingress, ...policy.egress].map(({ id, action }) => ({ id, action })),
  }));
}

interface Used {
  readonly policies: ReadonlySet<string>;
  readonly profiles: readonly string[];
}

const usedByWorkload = ({ ingress, egress, staged, profiles }: LocalEndpoint): Used => ({
  policies: idsOf([ingress, egress, staged?.ingress ?? [], staged?.egress ?? []]),
  profiles,
});

const usedByHost = ({ normal, forward, untracked, preDnat, staged, profiles }: LocalHostEndpoint): Used => ({
  policies: idsOf(
    [normal, forward, untracked, preDnat, ...Object.values(staged ?? {})].flatMap(({ ingress, egress }) => [
      ingress,
      egress,
    ]),
  ),
  profiles,
});

const idsOf = (lists: readonly (readonly TierPolicies[])[]): ReadonlySet<string> =>
  new Set(lists.flat().flatMap(({ policies }) => policies));

/**
 * The counters as metrics: series only for rules of endpoints here, read when scraped. Where they cannot be read there is no
 * series, and the other metrics are there all the same.
 */
export function ruleMetrics(counters: RuleCounters, registry: Registry): void {
  const common = { labelNames: ["rule" as const], registers: [registry] };
  const errors = new Metric({
    name: "margay_agent_rule_counter_errors_total",
    help: "Metrics of rules left out of a scrape, since the kernel's counters could not be read.",
    registers: [registry],
  });
  const fill = async (metric: Metric<"rule">, part: keyof Counter) => {
    metric.reset();
    const counts = await counters.counts().catch(() => {
      errors.inc();
      return new Map<string, Counter>();
    });
    for (const [rule, counter] of counts) metric.inc({ rule }, counter[part]);
  };
  new Metric({
    ...{
      name: "margay_agent_rule_packets_total",
      help: "Packets that a rule matched, by rule id.",
      ...common,
    },
    collect(): Promise<void> {
      return fill(this, "packets");
    },
  });
  new Metric({
    ...{ name: "margay_agent_rule_bytes_total", help: "Bytes that a rule matched, by rule id.", ...common },
    collect(): Promise<void> {
      return fill(this, "bytes");
    },
  });
}
