import { setTimeout as sleep } from "node:timers/promises";
import { kindPrefix, ROOT } from "@margay/api";
import { Calc } from "@margay/calc";
import { NewSpaceBound } from "@margay/daemon";
import { etcdStore, type SyncBatch, Syncer } from "@margay/datastore";
import { decodeUpdates, fileInto, type OnCorrupt } from "../intake.ts";

/**
 * The way from etcd to the desired state, as the agent goes it, without a kernel: what the first reading of a large cluster costs a
 * process that does nothing else, and then one change, which is written here. Prints one JSON line.
 *
 *     node --expose-gc --conditions=margay-source sync-bench.ts <etcd> <runs>; the node is n1
 */
export interface Synced {
  readonly keys: number;
  /** CPU of this process until the state is there, TLS not included. */
  readonly fullSyncCpuMs: number;
  readonly fullSyncMs: number;
  /** One changed endpoint of another node, written and seen: of which its state is made anew. */
  readonly changeCpuMs: number;
  readonly heapMB: number;
  /** The most that was resident at any time of it. */
  readonly peakRssMB: number;
}

const [endpoint = "", runs = "50"] = process.argv.slice(2);

const corrupt: OnCorrupt = (key, error) => {
  throw new Error(`${key}: ${error.message}`);
};

async function main(): Promise<Synced> {
  const store = etcdStore({ endpoints: [endpoint] });
  const calc = new Calc("n1");
  const newSpace = new NewSpaceBound();
  let keys = 0;
  let heard = Promise.withResolvers<void>();
  const onBatch = ({ updates, inSync }: SyncBatch) => {
    fileInto(calc, decodeUpdates(updates, corrupt), corrupt);
    keys += updates.length;
    if (!inSync) return newSpace.look();
    newSpace.end();
    calc.state();
    heard.resolve();
  };
  const cpuMs = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  const [before, startedAt] = [cpuMs(), performance.now()];
  const syncer = new Syncer({ store, prefix: ROOT, onBatch, sleep: (ms) => sleep(ms) });
  void syncer.start();
  await heard.promise;
  const [fullSyncCpuMs, fullSyncMs, all] = [cpuMs() - before, performance.now() - startedAt, keys];
  const peakRssMB = process.resourceUsage().maxRSS >> 10;
  globalThis.gc?.();
  const heapMB = process.memoryUsage().heapUsed >> 20;
  const { entries } = await store.list(`${kindPrefix("WorkloadEndpoint")}ns1/`);
  globalThis.gc?.(); // the listing was only to have something to write
  const from = cpuMs();
  for (const { key, value } of entries.slice(0, Number(runs))) {
    heard = Promise.withResolvers();
    await store.put(key, value.replace(/"tier":"t\d"/, '"tier":"moved"'));
    await heard.promise;
  }
  const changeCpuMs = (cpuMs() - from) / Math.min(Number(runs), entries.length);
  await syncer.stop();
  await store.close();
  return { keys: all, fullSyncCpuMs, fullSyncMs, changeCpuMs, heapMB, peakRssMB };
}

process.stdout.write(`${JSON.stringify(await main())}\n`);
