import { setTimeout as sleepFor } from "node:timers/promises";
import type { DaemonContext, DaemonOptions } from "@margay/daemon";
import { type Access, accessTo, apiServer, Leader, ListWatch, type WatchStatus } from "@margay/kubernetes";
import { Counter, Gauge } from "prom-client";
import { AutoHostEndpoints } from "./auto-host-endpoints.ts";
import { ClusterNodes } from "./cluster-nodes.ts";
import { conversions } from "./converted.ts";
import { Copies } from "./copies.ts";
import { PodGarbage } from "./garbage.ts";
import { grouped } from "./grouped.ts";
import { LoadBalancers } from "./load-balancers.ts";
import type { Controller, Followed, Surroundings } from "./parts.ts";
import { PodLabels } from "./pod-labels.ts";
import { Services } from "./services.ts";

/** What `margay controllers` is started with. */
export interface ControllersOptions extends DaemonOptions {
  readonly kubeconfig?: string | undefined;
  readonly leaderElectNamespace?: string | undefined;
  readonly routeReflectorLabel: string;
  readonly loadBalancerClass: string;
  /** Seconds. */
  readonly leakGracePeriod: number;
  readonly autoHostEndpoints?: boolean | undefined;
}

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  sleepFor(ms, undefined, { signal }).catch(() => {}); // aborted: whoever sleeps looks at the signal

/** How often readiness is looked at. */
const LOOK_MS = 500;

/**
 * Every replica follows the API server and the datastore; the one that holds the Lease writes. A takeover finds its caches
 * warm. `given` stands in for --kubeconfig.
 */
export async function startControllers(
  context: DaemonContext<ControllersOptions>,
  given?: Access,
): Promise<{ stop(): Promise<void> }> {
  const { log, health, metrics, options, node, control } = context;
  health.ready("kubernetes", false, "the API server has not been read yet");
  const access = given ?? (await accessTo({ kubeconfig: options.kubeconfig }));
  const server = apiServer(access);
  const written = new Counter({
    ...{ name: "margay_controllers_writes_total", help: "Writes to the datastore.", labelNames: ["kind"] },
    registers: [metrics],
  });
  const lost = new Map<string, string>();
  const surroundings: Surroundings = {
    ...{
      server,
      log,
      store: context.store,
      writes: grouped(context.store),
      sleep,
      random: Math.random,
      now: () => new Date(),
    },
    written: (kind) => written.inc({ kind }),
    follow: (followed) => follow(surroundings, followed, lost),
  };
  const { controllers, garbage } = assemble(surroundings, options);
  const leader = new Leader({
    ...{ server, name: "margay-controllers", identity: node, sleep },
    namespace: options.leaderElectNamespace ?? access.namespace,
    onChange: (leads) => {
      log.info({ event: "leader", leads }, leads ? "this replica leads" : "this replica follows");
      for (const one of controllers)
        if (leads) one.lead();
        else void one.follow();
    },
    onError: (error) => log.warn({ event: "lease", err: error }, `Lease: ${String(error)}`),
    now: () => performance.now(),
    wallClock: () => new Date(),
  });
  new Gauge({
    ...{ name: "margay_controllers_leader", help: "1 while this replica leads.", registers: [metrics] },
    collect(): void {
      this.set(leader.leads ? 1 : 0);
    },
  });

  const isKnown = () => controllers.every((one) => one.waitsFor() === undefined);
  const judge = () => {
    const why = [...lost.values(), ...controllers.flatMap((one) => one.waitsFor() ?? [])].join("; ");
    health.ready("kubernetes", why === "", why);
  };
  const collect = async () => {
    if (!leader.leads || !isKnown()) return;
    await garbage
      .collect()
      .catch((error: unknown) =>
        log.warn({ event: "garbage-failed", err: error }, `vanished pods not freed: ${String(error)}`),
      );
  };
  for (const one of controllers) void one.start(); // a rejection is a fault of the program: it ends the process
  leader.start();
  const looking = setInterval(judge, LOOK_MS);
  const collecting = setInterval(() => void collect(), Math.max(1, options.leakGracePeriod / 3) * 1000);
  control.get("/leader", () => ({ leads: leader.leads, identity: node, ready: isKnown() }));
  return {
    async stop() {
      clearInterval(looking);
      clearInterval(collecting);
      await leader.stop();
      await Promise.all(controllers.map((one) => one.stop()));
      server.close();
    },
  };
}

function assemble(surroundings: Surroundings, options: ControllersOptions) {
  const pods = new PodLabels(surroundings);
  const services = new Services(surroundings, {
    balancerClass: options.loadBalancerClass,
    onServices: () => balancers.changed(),
  });
  const balancers = new LoadBalancers(surroundings, {
    services: services.services,
    ourClass: options.loadBalancerClass,
  });
  const nodes = new ClusterNodes(surroundings, { reflectorLabel: options.routeReflectorLabel });
  const hosts = new AutoHostEndpoints(surroundings, { isOn: options.autoHostEndpoints ?? false });
  const controllers: readonly Controller[] = [
    ...[nodes, new Copies(surroundings, conversions)],
    ...[services, balancers, pods, hosts],
  ];
  const garbage = new PodGarbage(surroundings, {
    isThere: ({ namespace, pod, podUID }) => pods.pods.get(`${namespace}/${pod}`)?.uid === podUID,
    graceMs: options.leakGracePeriod * 1000,
    monotonic: () => performance.now(),
  });
  return { controllers, garbage };
}

/** A list-watch whose trouble is told once, in readiness for as long as it lasts. */
function follow<T>(
  { server, sleep, random, log }: Surroundings,
  { optional, ...followed }: Followed<T>,
  lost: Map<string, string>,
): ListWatch<T> {
  const { path } = followed;
  let isToldMissing = false;
  const tellMissing = () => {
    if (!isToldMissing)
      log.info({ event: "kind-missing", path }, `the cluster has no ${path}: not followed until it has`);
    isToldMissing = true;
  };
  const onStatus = (status: WatchStatus) => {
    if (status.kind === "connected") {
      if (lost.delete(path)) log.info({ event: "kubernetes-connected", path }, `following ${path} again`);
      return;
    }
    const { error, retryInMs } = status;
    if (optional && error.code === "not-found") return tellMissing();
    if (!lost.has(path)) log.warn({ event: "kubernetes-lost", path, err: error, retryInMs }, error.message);
    lost.set(path, error.message);
  };
  return new ListWatch<T>({ ...followed, server, sleep, random, onStatus, now: () => performance.now() });
}
