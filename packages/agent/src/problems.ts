import type { NodeState, Problem } from "@margay/calc";
import { Gauge, type Registry } from "prom-client";

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
  #told = new Map<string, Problem>();

  constructor(log: Log, registry: Registry) {
    this.#log = log;
    this.#closed = new Gauge({
      ...{ name: "margay_agent_policies_closed", registers: [registry] },
      help: "Policies and profiles in force here that deny everything since they cannot be resolved.",
    });
  }

  tell({ problems, policies, profiles }: Pick<NodeState, "problems" | "policies" | "profiles">): void {
    const all = [...policies.values(), ...profiles.values()];
    this.#closed.set(all.filter(({ problem }) => problem !== undefined).length);
    const now = new Map(problems.map((one) => [`${one.subject}\n${one.why}`, one]));
    for (const [key, { subject, why }] of now)
      if (!this.#told.has(key))
        this.#log.warn({ event: "closed", subject, why }, `${subject} is closed: ${why}`);
    for (const [key, { subject, why }] of this.#told)
      if (!now.has(key)) this.#log.info({ event: "resolved", subject, why }, `${subject} is resolved`);
    this.#told = now;
  }
}
