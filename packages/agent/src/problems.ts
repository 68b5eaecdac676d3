import type { NodeState, Problem } from "@margay/calc";
import { formatAddress } from "@margay/net";
import { Gauge, type Registry } from "prom-client";

type Told = Pick<NodeState, "problems" | "policies" | "profiles" | "endpoints">;

interface Log {
  warn(fields: object, text: string): void;
  info(fields: object, text: string): void;
}

/**
 * Names in log and metric what is closed since it cannot be resolved: each problem once when it comes, and once when it
 * is over. The control socket's `/state` lists them all.
 */
export class ProblemTeller {
  readonly #log: Log;
  readonly #closed: Gauge;
  readonly #named: Gauge;
  #told = new Map<string, Problem>();
  #taken: ReadonlySet<string> = new Set();

  constructor(log: Log, registry: Registry) {
    this.#log = log;
    this.#closed = new Gauge({
      ...{ name: "margay_agent_policies_closed", registers: [registry] },
      help: "Policies and profiles in force here that deny everything since they cannot be resolved.",
    });
    this.#named = new Gauge({
      ...{ name: "margay_agent_problems", registers: [registry] },
      help: "What is closed, left out, or in force otherwise than it reads, as the log and /state name it.",
    });
  }

  tell({ problems, policies, profiles, endpoints }: Told): void {
    this.#tellTaken(endpoints);
    if (problems.length + this.#told.size === 0) return;
    const all = [...policies.values(), ...profiles.values()];
    this.#closed.set(all.filter(({ problem }) => problem !== undefined).length);
    this.#named.set(problems.length);
    const now = new Map(problems.map((one) => [`${one.subject}\n${one.why}`, one]));
    for (const [key, { subject, why, isInForce }] of now)
      if (!this.#told.has(key))
        this.#log.warn(
          { event: isInForce ? "outdated" : "closed", subject, why },
          `${subject} is ${isInForce ? "in force" : "closed"}: ${why}`,
        );
    for (const [key, { subject, why }] of this.#told)
      if (!now.has(key)) this.#log.info({ event: "resolved", subject, why }, `${subject} is resolved`);
    this.#told = now;
  }

  /** Floating addresses that endpoints here ask for and others have. */
  #tellTaken(endpoints: NodeState["endpoints"]): void {
    const asking = endpoints.filter(({ floatingTaken }) => floatingTaken !== undefined);
    if (asking.length + this.#taken.size === 0) return;
    const taken = asking.flatMap(({ id, floatingTaken = [] }) =>
      floatingTaken.map(({ external, by }) => ({ id, external: formatAddress(external), by })),
    );
    const now = new Map(taken.map((one) => [`${one.id} ${one.external} ${one.by}`, one]));
    for (const [key, { id, external, by }] of now)
      if (!this.#taken.has(key))
        this.#log.warn(
          { event: "floating-taken", endpoint: id, address: external, by },
          `${id} does not get the floating address ${external}: ${by} has it`,
        );
    this.#taken = new Set(now.keys());
  }
}
