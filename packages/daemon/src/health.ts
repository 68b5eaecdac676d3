import { createServer, type Server } from "node:http";
import type { Registry } from "prom-client";

/** What a daemon says of itself; everything not yet told is "starting". */
export interface Health {
  /** A named condition of readiness; all of them must be true. */
  ready(name: string, isReady: boolean, why?: string): void;
  /** A sign of life of a named loop, promising the next one within `withinMs` (default a minute). */
  live(name: string, withinMs?: number): void;
  /** What is amiss although the daemon is ready, in words for people; asked whenever somebody looks. */
  remark(name: string, ask: () => string | undefined): void;
}

interface Condition {
  readonly isReady: boolean;
  readonly why: string;
}

/** Readiness and liveness as data; `now` in milliseconds. */
export class HealthState implements Health {
  readonly #now: () => number;
  readonly #conditions = new Map<string, Condition>([["started", { isReady: false, why: "still starting" }]]);
  readonly #deadlines = new Map<string, number>();
  readonly #remarks = new Map<string, () => string | undefined>();

  constructor(now: () => number) {
    this.#now = now;
  }

  ready(name: string, isReady: boolean, why = "not yet"): void {
    this.#conditions.set(name, { isReady, why });
  }

  live(name: string, withinMs = 60_000): void {
    this.#deadlines.set(name, this.#now() + withinMs);
  }

  remark(name: string, ask: () => string | undefined): void {
    this.#remarks.set(name, ask);
  }

  /** `/readyz` and its remarks, for the CLI: it reaches the control socket, but perhaps not the node's loopback. */
  shown(): { readonly ready: boolean; readonly reasons: readonly string[] } {
    const reasons = Object.entries(this.notReady()).map(([name, why]) => `${name}: ${why}`);
    const remarks = [...this.#remarks.values()].flatMap((ask) => ask() ?? []);
    return { ready: reasons.length === 0, reasons: [...reasons, ...remarks] };
  }

  /** Why the daemon is not ready, by condition; empty when it is. */
  notReady(): Record<string, string> {
    const unmet = [...this.#conditions].filter(([, { isReady }]) => !isReady);
    return Object.fromEntries(unmet.map(([name, { why }]) => [name, why]));
  }

  /** Loops whose sign of life is overdue, with by how much. */
  notLive(): Record<string, string> {
    const overdue = [...this.#deadlines]
      .map(([name, at]) => [name, this.#now() - at] as const)
      .filter(([, ms]) => ms > 0);
    return Object.fromEntries(
      overdue.map(([name, ms]) => [name, `no sign of life, overdue by ${Math.round(ms / 1000)} s`]),
    );
  }
}

/** /healthz, /readyz (200, or 503 with the reasons as JSON) and /metrics. */
export function healthServer(health: HealthState, metrics: Registry): Server {
  return createServer(async (request, response) => {
    const path = (request.url ?? "").split("?")[0];
    if (path === "/metrics") {
      const [status, text] = await scraped(metrics);
      return response.writeHead(status, { "content-type": metrics.contentType }).end(text);
    }
    if (path === "/healthz" || path === "/readyz") {
      const reasons = path === "/readyz" ? health.notReady() : health.notLive();
      const ok = Object.keys(reasons).length === 0;
      return response
        .writeHead(ok ? 200 : 503, { "content-type": "application/json" })
        .end(`${JSON.stringify({ ok, ...reasons })}\n`);
    }
    return response.writeHead(404).end("try /healthz, /readyz or /metrics\n");
  });
}

/** A metric that cannot be read costs its reader an answer, not the node its daemon. */
const scraped = (metrics: Registry): Promise<[status: number, text: string]> =>
  metrics.metrics().then(
    (text) => [200, text],
    (error: unknown) => [500, `${error instanceof Error ? error.message : String(error)}\n`],
  );
