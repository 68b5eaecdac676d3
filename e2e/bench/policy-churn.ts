import { setTimeout as delay } from "node:timers/promises";
import { parse } from "@margay/api";
import { etcdStore, resources, type Store } from "@margay/datastore";
import {
  BACKENDS,
  type Backend,
  Churn,
  inForce,
  policyOf,
  put,
  putAll,
  remoteEndpoint,
  type Sizes,
  useBackend,
} from "./cluster.ts";
import type { Inside } from "./inside.ts";
import { address4, type BenchPod, call, end, margay, podNamespace } from "./plugin.ts";
import { Probe } from "./probe.ts";
import { cpuMs, pidOf } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

const SIZES: Sizes = { policies: 1000, remote: 1000, apps: 50, roles: 200 };
const CHANGES_PER_SECOND = 100;
/** One change in so many is of a pod of the node that is measured: its own chains; the others' are members of sets. */
const LOCAL_EVERY = 10;

const DENY = parse({
  apiVersion: "margay.dev/v1",
  kind: "GlobalNetworkPolicy",
  metadata: { name: "bench-deny" },
  spec: { selector: "app == 'target'", types: ["Ingress"], ingress: [{ action: "Deny" }] },
}).resource;

/**
 * From before the write of a policy until the first packet that the remote node refuses, with a thousand other policies in
 * force for fifty pods there, while a hundred endpoints a second change their labels: nine of ten move from one set to
 * another, one of ten gets other policies.
 */
export async function policyChurn(inside: Inside): Promise<Result[]> {
  const { relay, etcd, say } = inside;
  const store = etcdStore({ endpoints: [etcd] });
  const [from, to] = [podNamespace("churn-from"), podNamespace("churn-to")];
  const others = Array.from({ length: SIZES.apps }, (_, n) => podNamespace(`churn-${n}`));
  await call(margay(relay, "n1"), from, "ADD");
  const target = address4((await call(margay(relay, "n2", { app: "target" }), to, "ADD")).result);
  for (const [n, pod] of others.entries()) await call(margay(relay, "n2", { app: `a${n}` }), pod, "ADD");
  const probe = await Probe.open({ from: from.namespacePath, to: to.namespacePath, target });
  try {
    const remote = Array.from({ length: SIZES.remote }, (_, n) => remoteEndpoint(n, n % SIZES.roles));
    await putAll(store, remote);
    await putAll(
      store,
      Array.from({ length: SIZES.policies }, (_, n) => policyOf(n, SIZES)),
    );
    const results: Result[] = [];
    for (const backend of Object.keys(BACKENDS) as Backend[]) {
      await useBackend(store, backend);
      await inForce(backend);
      say(`${backend}: ${SIZES.policies} policies`);
      results.push(...(await measure(backend, { ...inside, store, probe, others })));
    }
    return results;
  } finally {
    probe.close();
    await store.close();
    await end(margay(relay, "n1"), from);
    for (const pod of [to, ...others]) await end(margay(relay, "n2"), pod);
  }
}

interface Bed extends Inside {
  readonly store: Store;
  readonly probe: Probe;
  readonly others: readonly BenchPod[];
}

async function measure(backend: string, { quick, say, store, probe, others }: Bed): Promise<Result[]> {
  const change = await changes(store, others);
  const policies = resources(store, "GlobalNetworkPolicy");
  const times: number[] = [];
  const n = quick ? 20 : 200;
  const agent = pidOf("agent", "n2");
  const churn = new Churn(CHANGES_PER_SECOND, change);
  await delay(1000);
  const [before, startedAt] = [cpuMs(agent), performance.now()];
  for (let i = 0; i < n; i++) {
    await probe.untilAnswered();
    times.push(await probe.refusedAfter(() => policies.apply(DENY as never))); // parsed as this kind above
    await policies.delete("bench-deny");
    if (i % 20 === 0) say(`${i} of ${n} writes`);
  }
  const busy = (100 * (cpuMs(agent) - before)) / (performance.now() - startedAt);
  const rate = await churn.stop();
  const subject = `${backend}, ${SIZES.policies} policies, ${CHANGES_PER_SECOND} changes/s`;
  return [
    {
      ...{ benchmark: "policy-churn", subject, unit: "ms", ...summary(times) },
      target: { of: "p99", atMost: 50 },
    },
    { benchmark: "policy-churn: changes", subject, unit: "1/s", ...summary([rate]) },
    { benchmark: "policy-churn: agent's CPU", subject, unit: "%", ...summary([busy]) },
  ];
}

/** The n-th change of an endpoint. */
async function changes(store: Store, others: readonly BenchPod[]): Promise<(n: number) => Promise<unknown>> {
  const endpoints = await resources(store, "WorkloadEndpoint").list("bench");
  const local = others.map(({ name }) => {
    const found = endpoints.find(({ spec }) => spec.pod === name);
    if (!found) throw new Error(`no endpoint of pod ${name}`);
    return found;
  });
  return (n) => {
    if (n % LOCAL_EVERY > 0) return put(store, remoteEndpoint(n % SIZES.remote, (n * 7) % SIZES.roles));
    const one = local[(n / LOCAL_EVERY) % local.length]!; // by the modulus
    const labels = { ...one.metadata.labels, app: `a${(n * 3) % SIZES.apps}` };
    return put(store, { ...one, metadata: { ...one.metadata, labels } });
  };
}
