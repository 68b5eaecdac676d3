import { loadavg } from "node:os";
import { parseFile } from "@margay/api";
import { etcdStore, resources } from "@margay/datastore";
import { footprint } from "./footprint.ts";
import { kubernetesLatency } from "./kubernetes-latency.ts";
import { kubernetesPods } from "./kubernetes-pods.ts";
import { atOnce, sequential } from "./pod-add.ts";
import { pods1500 } from "./pods-1500.ts";
import { policyToEnforced } from "./policy.ts";
import { policyChurn } from "./policy-churn.ts";
import type { Result } from "./result.ts";
import { addToRemoteRoute } from "./route.ts";
import { throughput } from "./throughput.ts";

/** What a benchmark inside the lab is given. */
export interface Inside {
  readonly relay: string;
  readonly etcd: string;
  /** Fewer samples. */
  readonly quick: boolean;
  /** Progress, for people. */
  readonly say: (text: string) => void;
}

const BENCHMARKS: Readonly<Record<string, (inside: Inside) => Promise<Result[]>>> = {
  "pod-add-sequential": sequential,
  "pod-add-100-at-once": atOnce,
  "policy-to-enforced": policyToEnforced,
  "policy-churn": policyChurn,
  "pods-1500": pods1500,
  "add-to-remote-route": addToRemoteRoute,
  "kubernetes-latency": kubernetesLatency,
  "kubernetes-pods": kubernetesPods,
  "footprint-100-pods": footprint,
  throughput,
};

/** Runs in the lab's namespaces: `inside.ts <benchmark> <relay> <full|quick>`; one JSON line for each result. */
const [name = "", relay = "", amount = "full"] = process.argv.slice(2);
const run = BENCHMARKS[name];
if (run === undefined)
  throw new Error(`no benchmark ${name}; there are ${Object.keys(BENCHMARKS).join(", ")}`);
const etcd = process.env.MARGAY_ETCD_ENDPOINTS ?? "";
await writeNamespace(etcd);
const results = await run({
  relay,
  etcd,
  quick: amount === "quick",
  say: (text) => process.stderr.write(`  ${text}\n`),
});
const load = Math.round((loadavg()[0] ?? 0) * 10) / 10;
for (const result of results) process.stdout.write(`${JSON.stringify({ ...result, load })}\n`);
process.exit(0); // addon sockets and plugins' pipes may linger

/** The pods' Kubernetes namespace: without its profile every packet to them would be dropped. */
async function writeNamespace(endpoint: string): Promise<void> {
  const store = etcdStore({ endpoints: [endpoint] });
  const document = { apiVersion: "v1", kind: "Namespace", metadata: { name: "bench" } };
  for (const { resource } of parseFile(JSON.stringify(document), "bench")) {
    await resources(store, resource.kind).apply(resource as never); // the collection is of its kind
  }
  await store.close();
}
