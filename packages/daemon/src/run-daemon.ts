import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Store } from "@margay/datastore";
import { type Logger, pino } from "pino";
import { collectDefaultMetrics, Registry } from "prom-client";
import { type Control, ControlServer, controlSocket } from "./control.ts";
import type { DaemonOptions } from "./flags.ts";
import { type Health, HealthState, healthServer } from "./health.ts";
import { close, listenTcp, listenUnix } from "./listen.ts";
import { openStore } from "./open-store.ts";
import { whenQuiet } from "./quiet.ts";

/** What a daemon works with. */
export interface DaemonContext<O extends DaemonOptions = DaemonOptions> {
  /** JSON lines: `log.info({ event: "in-sync", revision }, "text for people")`. */
  readonly log: Logger;
  readonly store: Store;
  readonly node: string;
  readonly options: O;
  readonly metrics: Registry;
  readonly health: Health;
  readonly control: Control;
}

export interface Daemon<O extends DaemonOptions> {
  readonly name: "agent" | "bgpd" | "controllers";
  readonly options: O;
  /** Resolves when running; the daemon is ready once its own conditions of readiness are met too. */
  readonly start: (context: DaemonContext<O>) => Promise<{ stop(): Promise<void> }>;
  /** Each time the process has come to rest after work, its start-up included: what need not be in memory may go. */
  readonly onQuiet?: () => void;
}

/** How long `stop` may take before the process ends all the same. */
const STOP_MS = 10_000;

/** What still holds the process open after the stop is cut off so much later. */
const LINGER_MS = 1000;

/**
 * Runs until SIGTERM or SIGINT, then stops in bounded time. Never throws: what prevents the start or the stop
 * is logged.
 * @returns the exit code: 0 after a clean stop, 1 otherwise. An uncaught error ends the process at once, for
 * its supervisor to restart.
 */
export async function runDaemon<O extends DaemonOptions>(daemon: Daemon<O>): Promise<number> {
  const log = daemonLog(daemon.name, daemon.options);
  crashOnUncaught(log);
  log.info(
    { event: "starting", pid: process.pid, runtime: process.version },
    `margay ${daemon.name} is starting`,
  );
  const undo: Undo = [];
  const started = await runUntilSignal(daemon, { log, undo });
  const stopped = await unwind(undo, log);
  log.info({ event: "stopped", clean: stopped }, `margay ${daemon.name} has stopped`);
  const code = started && stopped ? 0 : 1;
  setTimeout(() => process.exit(code), LINGER_MS).unref();
  return code;
}

/** What must be closed at the end, in the order it was opened. */
type Undo = (() => Promise<void>)[];

/** False when the daemon could not be started. */
async function runUntilSignal<O extends DaemonOptions>(
  daemon: Daemon<O>,
  { log, undo }: { log: Logger; undo: Undo },
): Promise<boolean> {
  const signal = nextSignal();
  try {
    const context = await open(daemon, { log, undo });
    const running = await Promise.race([daemon.start(context), signal]);
    if (typeof running !== "string") {
      undo.push(() => running.stop());
      if (daemon.onQuiet) undo.push(whenQuiet(daemon.onQuiet));
      context.health.ready("started", true);
      log.info({ event: "started" }, `margay ${daemon.name} runs`);
    }
    log.info({ event: "stopping", signal: await signal }, `margay ${daemon.name} stops`);
    return true;
  } catch (error) {
    log.error({ event: "start-failed", err: error }, messageOf(error));
    return false;
  }
}

/** Everything that the daemon finds ready; what must be closed again goes onto `undo`. */
async function open<O extends DaemonOptions>(
  { name, options }: Daemon<O>,
  { log, undo }: { log: Logger; undo: Undo },
): Promise<DaemonContext<O>> {
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics, eventLoopMonitoringPrecision: 100 }); // its default wakes us 100 times a second
  undo.push(async () => metrics.clear());
  const health = new HealthState(() => performance.now());
  const healthHttp = healthServer(health, metrics);
  const port = await listenTcp(healthHttp, { address: options.healthAddress, port: options.healthPort });
  log.info(
    { event: "listening", address: options.healthAddress, port },
    "serving /healthz, /readyz and /metrics",
  );
  undo.push(() => close(healthHttp));
  mkdirSync(options.runDir, { recursive: true, mode: 0o755 });
  const control = new ControlServer();
  control.get("/ready", () => health.shown());
  await listenUnix(control.server, controlSocket(options.runDir, name));
  undo.push(() => close(control.server));
  const store = openStore(options);
  undo.push(() => store.close());
  return { log, store, node: options.node, options, metrics, health, control };
}

/** Last opened, first closed. False when it failed or took too long. */
async function unwind(undo: Undo, log: Logger): Promise<boolean> {
  const closing = (async () => {
    let clean = true;
    for (const step of undo.toReversed()) {
      await step().catch((error: unknown) => {
        log.error({ event: "stop-failed", err: error }, messageOf(error));
        clean = false;
      });
    }
    return clean;
  })();
  const late = new AbortController();
  const tooLate = sleep(STOP_MS, false, { signal: late.signal }).catch(() => false);
  const clean = await Promise.race([closing, tooLate]);
  late.abort();
  return clean;
}

function daemonLog(name: string, { node, logLevel }: DaemonOptions): Logger {
  return pino({
    level: logLevel,
    base: { daemon: name, node },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}

/** A broken invariant is not survived: one line with the reason, then the supervisor starts us anew. */
function crashOnUncaught(log: Logger): void {
  process.on("uncaughtException", (error, origin) => {
    log.fatal({ event: "crashed", origin, err: error }, messageOf(error));
    process.exit(1);
  });
}

/** The first SIGTERM or SIGINT; the next one then ends the process as if we did not listen. */
function nextSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  const signals = ["SIGTERM", "SIGINT"] as const;
  const onSignal = (signal: NodeJS.Signals) => {
    for (const name of signals) process.off(name, onSignal);
    resolve(signal);
  };
  for (const name of signals) process.on(name, onSignal);
  return promise;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
