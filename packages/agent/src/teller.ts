import { connectionTeller, type DaemonContext } from "@margay/daemon";
import type { SyncStatus } from "@margay/datastore";
import type { Outcome } from "@margay/reconcile";
import type { Pass } from "./dataplane.ts";
import type { Kernel } from "./kernel.ts";
import { type AgentMetrics, agentMetrics } from "./metrics.ts";
import { ProblemTeller } from "./problems.ts";
import type { Choice } from "./rulesets/choose.ts";

type Told = Pick<Kernel, "refused" | "routeCount">;

interface Failure {
  readonly retryInMs: number;
  /** Whether a pass ever succeeded. */
  readonly hasApplied: boolean;
}

/** What the agent says of its work, in log, metrics and health: it decides nothing. */
export class Teller {
  readonly #context: Pick<DaemonContext, "log" | "health" | "metrics">;
  readonly metrics: AgentMetrics;
  readonly #problems: ProblemTeller;
  readonly #tellConnection: (status: SyncStatus) => void;
  /** Why the datastore cannot be followed now, and why the last pass failed. */
  storeLost: string | undefined;
  passFailed: string | undefined;
  #hasApplied = false;
  /** Destinations whose refusal has been logged. */
  #told: ReadonlySet<string> = new Set();

  constructor(context: Pick<DaemonContext, "log" | "health" | "metrics">) {
    this.#context = context;
    this.metrics = agentMetrics(context.metrics);
    this.#tellConnection = connectionTeller(context);
    this.#problems = new ProblemTeller(context.log, context.metrics);
  }

  /** For a part of the agent that tries again by itself. */
  failing(event: string, what: string): (error: unknown, retryInMs: number) => void {
    return (error, retryInMs) =>
      this.#context.log.warn({ event, err: error, retryInMs }, `${what}: ${String(error)}`);
  }

  /** A pass that succeeded. */
  applied({ state, outcomes, milliseconds }: Pass, kernel: Told): void {
    const { health, log } = this.#context;
    const metrics = this.metrics;
    this.passFailed = undefined;
    if (outcomes.length === 0) return; // it was so already
    this.#problems.tell(state);
    metrics.apply.observe(milliseconds / 1000);
    metrics.endpoints.set(state.endpoints.length);
    metrics.closed.set(state.endpoints.filter(({ ok }) => !ok).length);
    metrics.routes.set(kernel.routeCount);
    metrics.refused.set(kernel.refused.size);
    for (const { target, put, removed } of outcomes) {
      metrics.changes.inc({ target, change: "put" }, put);
      metrics.changes.inc({ target, change: "removed" }, removed);
    }
    const changed = outcomes.filter(({ put, removed }) => put + removed > 0);
    const level = this.#hasApplied ? "debug" : "info"; // a pod makes two of them, and has a line of its own
    if (changed.length > 0) log[level]({ event: "applied", changed, milliseconds }, "kernel updated");
    this.#hasApplied = true;
    this.#tellRefused(kernel);
    health.ready("dataplane", true);
  }

  /** Ways to other nodes. */
  overlaid(outcomes: readonly Outcome[]): void {
    const changed = outcomes.filter(({ put, removed }) => put + removed > 0);
    for (const { target, put, removed } of changed) {
      this.metrics.changes.inc({ target: `overlay ${target}`, change: "put" }, put);
      this.metrics.changes.inc({ target: `overlay ${target}`, change: "removed" }, removed);
    }
    if (changed.length > 0)
      this.#context.log.info({ event: "overlay-applied", changed }, "ways to other nodes updated");
  }

  /** Rules that somebody else had changed. */
  repaired(what: readonly string[]): void {
    this.metrics.repairs.inc(what.length);
    this.#context.log.warn(
      { event: "rules-repaired", what },
      `put back what others had changed: ${what.join(", ")}`,
    );
  }

  /** Where rules will be written from now on. */
  chosen({ kind, because }: Choice): void {
    this.#context.log.info(
      { event: "packet-filter-chosen", kind, because },
      `rules go to ${kind}: ${because}`,
    );
  }

  connectionsCut(count: number): void {
    this.metrics.cut.inc(count);
    const text = `${count} established connections are no longer allowed`;
    this.#context.log.info({ event: "connections-cut", count }, text);
  }

  /** Once for each route, until it gets in. */
  #tellRefused({ refused }: Told): void {
    for (const [dst, error] of refused)
      if (!this.#told.has(dst))
        this.#context.log.warn({ event: "route-refused", dst, err: error }, error.message);
    this.#told = new Set(refused.keys());
  }

  /** A pass that failed. */
  failed(error: unknown, { retryInMs, hasApplied }: Failure): void {
    const { health, log } = this.#context;
    const why = error instanceof Error ? error.message : String(error);
    this.passFailed = why;
    this.metrics.errors.inc();
    health.ready("dataplane", hasApplied, why);
    log.error({ event: "apply-failed", err: error, retryInMs }, `kernel not updated: ${why}`);
  }

  /** The datastore came or went. */
  connection(status: SyncStatus): void {
    this.storeLost = status.kind === "connected" ? undefined : status.error.message;
    this.#tellConnection(status);
  }
}
