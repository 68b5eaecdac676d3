import { setTimeout as sleepFor } from "node:timers/promises";
import { type DaemonContext, type DaemonOptions, Troubles } from "@margay/daemon";
import { StoreError } from "@margay/datastore";
import {
  type Access,
  type ApiServer,
  accessTo,
  apiServer,
  KubernetesError,
  Leader,
} from "@margay/kubernetes";
import { Counter, Gauge } from "prom-client";
import { AutoHostEndpoints } from "./auto-host-endpoints.ts";
import { ClusterNodes } from "./cluster-nodes.ts";
import { conversions, isAboutTraffic } from "./converted.ts";
import { Copies } from "./copies.ts";
import { follow } from "./follow.ts";
import { PodGarbage } from "./garbage.ts";
import { grouped } from "./grouped.ts";
import { LoadBalancers } from "./load-balancers.ts";
import type { Controller, Surroundings } from "./parts.ts";
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
  const surroundings = surroundingsOf(context, server);
  const { troubles } = surroundings;
  const { controllers, garbage } = assemble(surroundings, options);
  const leader = new Leader({
    ...{ server, name: "margay-controllers", identity: node, sleep },
    namespace: options.leaderElectNamespace ?? access.namespace,
    onChange: async (leads) => {
      log.info({ event: "leader", leads }, leads ? "this replica leads" : "this replica follows");
      if (!leads) await Promise.all(controllers.map((one) => one.follow()));
      else for (const one of controllers) one.lead();
    },
    onError: (error) => {
      if (!troubles.begin("Lease", error))
        log.warn({ event: "lease", err: error }, `Lease: ${String(error)}`);
    },
    onAnswer: () => troubles.end("Lease"),
    now: () => performance.now(),
    wallClock: () => new Date(),
  });
  new Gauge({
    ...{ name: "margay_controllers_leader", help: "1 while this replica leads.", registers: [metrics] },
    collect(): void {
      this.set(leader.leads ? 1 : 0);
    },
  });

  /** What is out of reach goes before what has therefore not been read. */
  const missing = (): string[] => {
    const out = troubles.texts();
    return out.length > 0 ? out : controllers.flatMap((one) => one.waitsFor() ?? []);
  };
  const isKnown = () => missing().length === 0;
  const judge = () => health.ready("kubernetes", isKnown(), missing().join("; "));
  const collect = async () => {
    if (!leader.leads || !isKnown()) return;
    try {
      await garbage.collect();
      troubles.end("garbage");
    } catch (error) {
      if (!troubles.begin("garbage", error))
        log.warn({ event: "garbage-failed", err: error }, `vanished pods not freed: ${String(error)}`);
    }
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

function surroundingsOf(
  { log, store, metrics }: DaemonContext<ControllersOptions>,
  server: ApiServer,
): Surroundings {
  const counter = new Counter({
    ...{ name: "margay_controllers_writes_total", help: "Writes to the datastore.", labelNames: ["kind"] },
    registers: [metrics],
  });
  const troubles = new Troubles(log, { datastore: StoreError, kubernetes: KubernetesError });
  const common = { server, log, sleep, random: Math.random, troubles };
  return {
    ...{ ...common, store, writes: grouped(store), now: () => new Date() },
    written: (kind) => counter.inc({ kind }),
    follow: (followed) => follow(common, followed),
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
  const policies = new Copies(surroundings, {
    ...{ conversions: conversions.filter(isAboutTraffic), event: "policy-not-copied" },
  });
  const copies = new Copies(surroundings, {
    conversions: conversions.filter((one) => !isAboutTraffic(one)),
    ...{ event: "not-copied", after: policies },
  });
  const nodes = new ClusterNodes(surroundings, {
    ...{ reflectorLabel: options.routeReflectorLabel, after: policies },
  });
  const hosts = new AutoHostEndpoints(surroundings, { isOn: options.autoHostEndpoints ?? false });
  const controllers: readonly Controller[] = [
    ...[policies, copies, nodes],
    ...[services, balancers, pods, hosts],
  ];
  const garbage = new PodGarbage(surroundings, {
    isThere: ({ namespace, pod, podUID }) => pods.pods.get(`${namespace}/${pod}`)?.uid === podUID,
    graceMs: options.leakGracePeriod * 1000,
    monotonic: () => performance.now(),
  });
  return { controllers, garbage };
}
