import { setImmediate, setTimeout as sleepFor } from "node:timers/promises";
import { ROOT } from "@margay/api";
import { compileInIdleTime, connectionTeller, type DaemonContext } from "@margay/daemon";
import { BarrierResponder, Syncer } from "@margay/datastore";
import { registerControls } from "./controls.ts";
import { Engine } from "./engine.ts";
import { Intake } from "./intake.ts";
import { bgpdMetrics } from "./metrics.ts";
import { absentOf, pendingOf } from "./pending.ts";
import { SecretFiles } from "./secrets.ts";
import { Uptake } from "./uptake.ts";

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
  compileInIdleTime(); // it shares its processors with the pods that start
  const engine = await Engine.open({ log });
  const secrets = new SecretFiles(secretsDir, () => isInSync && uptake.changed());
  const intake = new Intake({
    node,
    onCorrupt: (key, error) => log.error({ event: "corrupt", key, err: error }, error.message),
    secret: secrets.read,
  });
  let isInSync = false;
  const pending = () =>
    isInSync ? (uptake.behind ?? pendingOf(engine, intake.remoteBlocks())) : "the datastore is not in sync";

  const stopping = new AbortController();
  const uptake = new Uptake({
    apply: () => engine.apply(intake.wanted()),
    onApplied: () => health.ready("resources", true),
    onError: (error, retryInMs) => {
      health.ready("resources", false, error.message);
      log.error({ event: "apply-failed", err: error, retryInMs }, error.message);
    },
  });
  const responder = new BarrierResponder({
    store,
    node,
    daemon: "bgpd",
    sleep,
    pending: async () => {
      await setImmediate(); // what came along with the question is taken up first
      return pending();
    },
    note: () => absentOf(engine),
  });
  const syncer = new Syncer({
    store,
    prefix: ROOT,
    sleep,
    random: Math.random,
    onBatch: ({ updates, inSync, revision }) => {
      const concernsUs = intake.apply(updates);
      if (inSync && !isInSync) {
        isInSync = true;
        log.info({ event: "in-sync", revision }, "in sync with the datastore");
        uptake.changed();
        void whenWritten(engine, stopping.signal).then(() => health.ready("kernel", true));
      } else if (concernsUs && isInSync) uptake.changed();
      responder.feed(updates);
    },
    onStatus: connectionTeller(context),
  });

  health.ready("resources", false, "nothing has been taken up yet");
  health.ready("kernel", false, "routes have not been written yet");
  bgpdMetrics(metrics, engine);
  registerControls(control, engine, pending);
  health.remark("pending", pending);
  health.remark("sessions", () => absentOf(engine));
  void syncer.start(); // a rejection is a fault of the program: it ends the process
  return {
    async stop() {
      stopping.abort();
      responder.stop();
      secrets.close();
      await syncer.stop();
      await uptake.stop();
      await engine.stop();
    },
  };
}

/** Until what is wanted is in the kernel for the first time. */
async function whenWritten({ kernel }: Engine, signal: AbortSignal): Promise<void> {
  while (!kernel.isSettled && !signal.aborted) await sleep(20, signal);
}
