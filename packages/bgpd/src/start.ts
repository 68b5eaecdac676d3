import { setTimeout as sleepFor } from "node:timers/promises";
import { ROOT } from "@margay/api";
import type { DaemonContext } from "@margay/daemon";
import { BarrierResponder, Syncer } from "@margay/datastore";
import { Loop } from "@margay/reconcile";
import { registerControls } from "./controls.ts";
import { Engine } from "./engine.ts";
import { Intake } from "./intake.ts";
import { bgpdMetrics } from "./metrics.ts";
import { absentOf, pendingOf, seeDown } from "./pending.ts";
import { SecretFiles } from "./secrets.ts";

/** Where Secrets lie that resources refer to, unless --secrets-dir says another place. */
export const defaultSecretsDir = "/etc/margay/secrets";

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  sleepFor(ms, undefined, { signal }).catch(() => {}); // aborted: whoever sleeps looks at the signal

/** Starts bgpd: reads the datastore, speaks BGP, writes routes. Nothing is dialled or written before the first full sync. */
export async function startBgpd(
  context: DaemonContext,
  { secretsDir = defaultSecretsDir }: { readonly secretsDir?: string } = {},
): Promise<{ stop(): Promise<void> }> {
  const { log, store, node, health, control, metrics } = context;
  const engine = await Engine.open({ log });
  const secrets = new SecretFiles(secretsDir, () => isInSync && loop.trigger());
  const intake = new Intake({
    node,
    onCorrupt: (key, error) => log.error({ event: "corrupt", key, err: error }, error.message),
    secret: secrets.read,
  });
  let isInSync = false;
  let hasApplied = false;
  const pending = () =>
    isInSync ? pendingOf(engine, intake.remoteBlocks()) : "the datastore is not in sync";

  const loop = new Loop({
    pass: async () => {
      engine.apply(intake.wanted());
      if (!hasApplied) await firstApply(engine); // later passes wait for nothing: they are what others wait for
      hasApplied = true;
      health.ready("kernel", true);
    },
    sleep,
    onError: (error, retryInMs) => log.error({ event: "apply-failed", err: error, retryInMs }, String(error)),
  });
  const responder = new BarrierResponder({
    store,
    node,
    daemon: "bgpd",
    sleep,
    pending: async () => pending(),
    note: () => absentOf(engine),
  });
  const syncer = new Syncer({
    store,
    prefix: ROOT,
    sleep,
    random: Math.random,
    onBatch: ({ updates, inSync, revision }) => {
      const concernsUs = intake.apply(updates);
      seeDown(engine);
      if (inSync && !isInSync) {
        isInSync = true;
        health.ready("datastore", true);
        log.info({ event: "in-sync", revision }, "in sync with the datastore");
        loop.trigger();
      } else if (concernsUs && isInSync) loop.trigger();
      responder.feed(updates);
    },
    onStatus: (status) =>
      status.kind === "connected"
        ? log.info({ event: "connected", revision: status.revision }, "datastore connected")
        : log.warn({ event: "disconnected", err: status.error }, "datastore lost; sessions and routes stay"),
  });

  health.ready("datastore", false, "not in sync with the datastore yet");
  health.ready("kernel", false, "routes have not been written yet");
  bgpdMetrics(metrics, engine);
  registerControls(control, engine, pending);
  control.get("/ready", () => {
    const why = pending();
    return { ready: why === undefined, reasons: why === undefined ? [] : [why] };
  });
  void syncer.start(); // a rejection is a fault of the program: it ends the process
  return {
    async stop() {
      responder.stop();
      secrets.close();
      await syncer.stop();
      await loop.stop();
      await engine.stop();
    },
  };
}

/** Until what is known has been written to the kernel; the loop goes on after a second in any case. */
async function firstApply(engine: Engine): Promise<void> {
  for (let waitedMs = 0; !engine.kernel.isSettled && waitedMs < 1000; waitedMs += 5) await sleepFor(5);
}
