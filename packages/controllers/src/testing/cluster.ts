import type { DaemonContext } from "@margay/daemon";
import { type MemoryStore, memoryStore } from "@margay/datastore";
import { type Access, type MemoryApiServer, memoryApiServer } from "@margay/kubernetes";
import { Registry } from "prom-client";
import { type ControllersOptions, startControllers } from "../start.ts";

type Event = Readonly<Record<string, unknown>>;

/** An API server, a datastore, and replicas of the controllers between them. */
export interface TestCluster {
  readonly kubernetes: MemoryApiServer;
  readonly store: MemoryStore;
  /** Starts a replica; resolves when it has read everything. */
  replica(identity: string, options?: Partial<ControllersOptions>, access?: Access): Promise<Replica>;
  close(): Promise<void>;
}

export interface Replica {
  readonly notReady: () => string[];
  readonly events: (name: string) => Event[];
  /** What was logged with that severity. */
  readonly texts: (level: "info" | "warn") => string[];
  /** Writes to the datastore so far. */
  readonly writes: () => Promise<number>;
  stop(): Promise<void>;
}

export async function testCluster(): Promise<TestCluster> {
  const kubernetes = await memoryApiServer();
  const store = memoryStore();
  const running = new Set<Replica>();
  const cluster: TestCluster = {
    ...{ kubernetes, store },
    async replica(identity, options = {}, access = kubernetes.access) {
      const logged: Event[] = [];
      const write = (level: string) => (event: Event, text: string) =>
        void logged.push({ ...event, level, text });
      const conditions = new Map<string, string | undefined>();
      const metrics = new Registry();
      const context = {
        ...{ store, node: identity, metrics },
        options: {
          routeReflectorLabel: "margay.dev/route-reflector",
          loadBalancerClass: "margay.dev/load-balancer",
          leakGracePeriod: 900,
          ...options,
        },
        log: { debug: () => {}, info: write("info"), warn: write("warn"), error: write("error") },
        health: {
          ready: (name: string, isReady: boolean, why = "not yet") =>
            conditions.set(name, isReady ? undefined : why),
          live: () => {},
        },
        control: { get: () => {} },
      } as unknown as DaemonContext<ControllersOptions>; // just what the controllers use
      const { stop } = await startControllers(context, access);
      const replica: Replica = {
        notReady: () => [...conditions.values()].filter((why) => why !== undefined),
        events: (name) => logged.filter(({ event }) => event === name),
        texts: (wanted) => logged.filter(({ level }) => level === wanted).map(({ text }) => String(text)),
        writes: async () => {
          const found = await metrics.getSingleMetric("margay_controllers_writes_total")?.get();
          return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0);
        },
        async stop() {
          running.delete(replica);
          await stop();
        },
      };
      running.add(replica);
      return replica;
    },
    async close() {
      for (const replica of running) await replica.stop();
      await store.close();
      await kubernetes.close();
    },
  };
  return cluster;
}
