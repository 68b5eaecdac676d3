// The controllers at 5,000 nodes and 100,000 pods on one etcd; needs no lab. One JSON line for each result: controllers-scale.ts <full|quick>
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encode, keyOf, parse } from "@margay/api";
import { etcdStore, type Store } from "@margay/datastore";
import type { KubernetesObject } from "@margay/kubernetes";
import { startEtcd } from "../ipam/etcd.ts";
import { type Result, summary } from "./result.ts";
import { simulatedApi } from "./simulated-api.ts";

const MARGAY = fileURLToPath(new URL("../../packages/margay/dist/margay.mjs", import.meta.url));
const scale = process.argv[2] === "quick" ? 0.1 : 1;
const COUNT = {
  nodes: 5000 * scale,
  pods: 100_000 * scale,
  namespaces: 500 * scale,
  policies: 1000 * scale,
  services: 2000 * scale,
};
const PODS = "/api/v1/pods";
const CHANGES = 500;
const TARGETS = { memory: 400, sync: 60_000, label: 150 };

/** What an API server adds to each object: a third of a small pod. */
const MANAGED = [
  {
    ...{ manager: "kube-controller-manager", operation: "Update", apiVersion: "v1", fieldsType: "FieldsV1" },
    fieldsV1: { "f:metadata": { "f:labels": { ".": {}, "f:app": {}, "f:pod-template-hash": {} } } },
  },
];
const object = (name: string, namespace: string | undefined, more: object): KubernetesObject =>
  ({
    ...more,
    metadata: {
      ...{ name, uid: `uid-${name}`, resourceVersion: "1", managedFields: MANAGED },
      ...(namespace && { namespace }),
      ...(more as { metadata?: object }).metadata,
    },
  }) as KubernetesObject;

const namespaceOf = (i: number) => `namespace-${i % COUNT.namespaces}`;
const labelsOf = (i: number, version: "v1" | "v2") => ({
  ...{ app: `app-${i % 2000}`, "pod-template-hash": `7d4b9c${i % 5000}`, version, team: `team-${i % 50}` },
});
const pod = (i: number, version: "v1" | "v2"): KubernetesObject =>
  object(`app-${i % 2000}-7d4b9c-${i}`, namespaceOf(i), { metadata: { labels: labelsOf(i, version) } });

/** So many pods have another label by now. */
let changes = 0;
const api = await simulatedApi({
  [PODS]: { count: COUNT.pods, object: (i) => pod(i, i < changes ? "v2" : "v1") },
  "/api/v1/nodes": {
    count: COUNT.nodes,
    object: (i) =>
      object(`node-${i}`, undefined, {
        metadata: { labels: { rack: `rack-${i % 100}`, "kubernetes.io/hostname": `node-${i}` } },
        spec: { podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`] },
        status: {
          addresses: [{ type: "InternalIP", address: `172.${16 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}` }],
        },
      }),
  },
  "/api/v1/namespaces": {
    count: COUNT.namespaces,
    object: (i) => object(`namespace-${i}`, undefined, { metadata: { labels: { team: `team-${i % 50}` } } }),
  },
  "/apis/networking.k8s.io/v1/networkpolicies": {
    count: COUNT.policies,
    object: (i) =>
      object(`policy-${i}`, namespaceOf(i), {
        spec: { podSelector: { matchLabels: { app: `app-${i}` } }, policyTypes: ["Ingress"] },
      }),
  },
  "/api/v1/services": {
    count: COUNT.services,
    object: (i) =>
      object(`app-${i}`, namespaceOf(i), { spec: { clusterIPs: [`10.96.${i >> 8}.${i & 255}`] } }),
  },
  "/apis/discovery.k8s.io/v1/endpointslices": {
    count: COUNT.services,
    object: (i) =>
      object(`app-${i}-x`, namespaceOf(i), {
        ...{ metadata: { labels: { "kubernetes.io/service-name": `app-${i}` } }, addressType: "IPv4" },
        endpoints: Array.from({ length: 50 }, (_, e) => ({
          ...{ addresses: [`10.244.${e}.${i & 255}`], nodeName: `node-${e}`, conditions: { ready: true } },
        })),
        ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      }),
  },
});

const endpointKey = (i: number) =>
  keyOf("WorkloadEndpoint", `node-${i % COUNT.nodes}-k8s-${i}-eth0`, namespaceOf(i));

/** What CNI has written: the pods' labels as they are. */
async function seed(store: Store): Promise<void> {
  const { resource } = parse({
    ...{ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint", metadata: { name: "x", namespace: "y" } },
    spec: {
      ...{ orchestrator: "k8s", node: "n", endpoint: "eth0", interfaceName: "cali0123456789a" },
      ...{
        ipNetworks: ["10.244.0.1/32", "fd00:10:244::1/128"],
        profiles: ["kns.x"],
        mac: "02:00:00:00:00:01",
      },
    },
  });
  const one = async (i: number) => {
    const key = endpointKey(i);
    const { name, namespace = "" } = pod(i, "v1").metadata;
    const labels = {
      ...labelsOf(i, "v1"),
      "projectcalico.org/namespace": namespace,
      "projectcalico.org/orchestrator": "k8s",
    };
    const metadata = { name: key.split("/").at(-1) ?? "", namespace, labels };
    const spec = {
      ...(resource.spec as object),
      pod: name,
      node: `node-${i % COUNT.nodes}`,
      containerID: `c${i}`,
    };
    await store.create(key, encode({ ...resource, metadata, spec }));
  };
  for (let at = 0; at < COUNT.pods; at += 500)
    await Promise.all(Array.from({ length: Math.min(500, COUNT.pods - at) }, (_, i) => one(at + i)));
}

const etcd = await startEtcd();
const folder = mkdtempSync(join(tmpdir(), "controllers-scale-"));
const store = etcdStore({ endpoints: [etcd.endpoint] });
process.stderr.write("  endpoints into etcd\n");
await seed(store);

const kubeconfig = join(folder, "kubeconfig");
writeFileSync(
  kubeconfig,
  JSON.stringify({
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace: "margay-system" } }],
    clusters: [{ name: "c", cluster: { server: api.url } }],
    users: [{ name: "u", user: { token: "t" } }],
  }),
);
const flags = [
  "--kubeconfig",
  kubeconfig,
  "--etcd-endpoints",
  etcd.endpoint,
  "--run-dir",
  folder,
  "--health-port",
  "0",
];
/** One life of the program. */
function startControllers() {
  const begun = performance.now();
  const child = spawn(process.execPath, [MARGAY, "controllers", "--node", "bench", ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let port = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    for (const line of chunk.toString().split("\n")) {
      if (line.includes('"listening"')) port = Number(/"port":(\d+)/.exec(line)?.[1]);
      if (/"level":"(warn|error|fatal)"/.test(line)) process.stderr.write(`  ${line}\n`);
    }
  });
  const proc = (file: string) => readFileSync(`/proc/${child.pid}/${file}`, "utf8");
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
  const writes = async () => {
    const lines = (await (await get("/metrics")).text()).split("\n");
    const counts = lines.filter((line) => line.startsWith("margay_controllers_writes_total{"));
    return counts.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0);
  };
  return {
    writes,
    megabytes: (field: "VmHWM" | "VmRSS") =>
      Number(new RegExp(`${field}:\\s+(\\d+)`).exec(proc("status"))?.[1]) / 1024,
    /** User and system time in ms; a clock tick is 10 ms. */
    cpu: () =>
      proc("stat")
        .split(" ")
        .slice(13, 15)
        .reduce((sum, ticks) => sum + Number(ticks) * 10, 0),
    /** Until everything has been read, and so much written. @returns milliseconds since its start */
    async synced(wanted: number): Promise<number> {
      const isReady = async () => port > 0 && (await get("/readyz")).ok && (await writes()) >= wanted;
      while (!(await isReady().catch(() => false))) await sleep(100);
      return performance.now() - begun;
    },
    async end(): Promise<void> {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}

process.stderr.write("  full sync\n");
const first = startControllers();
const syncMs = await first.synced(
  COUNT.nodes + COUNT.namespaces + COUNT.policies + 2 * COUNT.services, // a service has a slice
);
const cpu = first.cpu();
await sleep(2000);
const peak = first.megabytes("VmHWM");
const resident = first.megabytes("VmRSS");
const before = await first.writes();

process.stderr.write("  labels\n");
const times: number[] = [];
for (let i = 0; i < CHANGES; i++) {
  const key = endpointKey(i);
  const since = performance.now();
  changes = i + 1;
  const change = pod(i, "v2");
  api.tell(PODS, "MODIFIED", { ...change, metadata: { ...change.metadata, resourceVersion: `${i + 2}` } });
  while (!(await store.get(key))?.value.includes('"version":"v2"')) await sleep(1);
  times.push(performance.now() - since);
}
const changed = (await first.writes()) - before;
await first.end();

process.stderr.write("  restart\n");
const second = startControllers();
const restartMs = await second.synced(0);
await sleep(3000);
const again = await second.writes();
await second.end();
const load = Math.round((loadavg()[0] ?? 0) * 10) / 10;
const subject = `${COUNT.nodes} nodes, ${COUNT.pods} pods`;
const one = (benchmark: string, unit: Result["unit"], value: number) => ({
  benchmark,
  subject,
  unit,
  ...summary([value]),
  load,
});
const results: Result[] = [
  {
    ...one("controllers-memory-peak", "MB", peak),
    target: { of: "p50", atMost: TARGETS.memory },
  },
  one("controllers-memory", "MB", resident),
  { ...one("controllers-full-sync", "ms", syncMs), target: { of: "p50", atMost: TARGETS.sync } },
  one("controllers-full-sync-cpu", "ms", cpu),
  {
    benchmark: "controllers-label",
    subject,
    unit: "ms",
    ...summary(times),
    load,
    target: { of: "p99", atMost: TARGETS.label },
  },
  {
    ...one(`controllers-writes-for-${CHANGES}-changes`, "writes", changed),
    target: { of: "p50", atMost: CHANGES },
  },
  one("controllers-restart", "ms", restartMs),
  { ...one("controllers-writes-for-a-restart", "writes", again), target: { of: "p50", atMost: 0 } },
];
for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`);
await store.close();
await api.close();
await etcd.remove();
rmSync(folder, { recursive: true });
process.exit(0); // nothing is left to do
