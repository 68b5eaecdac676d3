import { setTimeout as delay } from "node:timers/promises";
import { etcdStore } from "@margay/datastore";
import type { ApiServer } from "@margay/kubernetes";
import { must } from "@margay/lab";
import type { Inside } from "./inside.ts";
import { createPod, kubernetes, MARGAY, NAMESPACE, together } from "./kubernetes-cluster.ts";
import { address4, call, end, margay, podNamespace } from "./plugin.ts";
import { Probe } from "./probe.ts";
import { type Result, summary } from "./result.ts";

const PODS = 100;
const POLICIES = 1000;
const NETWORK_POLICIES = "/apis/networking.k8s.io/v1/namespaces/bench/networkpolicies";

/** What a cluster's user waits for, from the request to the API server until a packet is refused. */
export async function kubernetesLatency(inside: Inside): Promise<Result[]> {
  const { relay, quick, say, etcd } = inside;
  const { subject, server } = await kubernetes(inside);
  const pods = Array.from({ length: PODS }, (_, i) => podNamespace(`burst-${i}`));
  const from = podNamespace("from");
  await together(pods, ({ name }, i) => createPod(server, name, "n1", { app: `app-${i}` }));
  await createPod(server, "from", "n2", { role: "frontend" });
  const [first] = await Promise.all(pods.map((pod) => call(margay(relay, "n1"), pod, "ADD")));

  say(`${POLICIES} policies`);
  await writePolicies(server, etcd);
  await must([...MARGAY, "wait", "--etcd-endpoints", etcd, "--timeout", "60"]);
  await call(margay(relay, "n2", { role: "frontend" }), from, "ADD");
  const target = address4(first?.result ?? "");
  const probe = await Probe.open({ from: from.namespacePath, to: pods[0]?.namespacePath ?? "", target });
  const n = quick ? 10 : 100;
  const policy = await policyTimes(server, probe, n);
  say("labels");
  const label = await labelTimes(server, probe, n);
  probe.close();
  await Promise.all([end(margay(relay, "n2"), from), ...pods.map((pod) => end(margay(relay, "n1"), pod))]);
  const row = (benchmark: string, times: number[], atMost: number): Result => ({
    ...{ benchmark, subject, unit: "ms", ...summary(times), target: { of: "p99", atMost } },
  });
  return [row("kubernetes-policy-to-enforced", policy, 100), row("kubernetes-label-to-enforced", label, 150)];
}

/** Each of the node's pods has ten of them. The first pod has port 7000 open in all of its own. */
async function writePolicies(server: ApiServer, etcd: string): Promise<void> {
  const spec = (i: number) => ({
    ...{ podSelector: { matchLabels: { app: `app-${1 + (i % (PODS - 1))}` } }, policyTypes: ["Ingress"] },
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { role: `role-${i % 50}` } } }],
        ports: [{ port: 8000 + (i % 100) }],
      },
    ],
  });
  const names = Array.from({ length: POLICIES }, (_, i) => `policy-${i}`);
  await together(names, (name, i) => post(server, name, spec(i)));
  const store = etcdStore({ endpoints: [etcd] });
  const count = async () => (await store.list("/margay/v1/networkpolicies/bench/")).entries.length;
  while ((await count()) < POLICIES) await delay(200);
  await store.close();
}

const post = (server: ApiServer, name: string, spec: object) =>
  server.call({
    ...{ method: "POST", path: NETWORK_POLICIES },
    body: {
      ...{ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy" },
      ...{ metadata: { name, namespace: "bench" }, spec },
    },
  });
const remove = (server: ApiServer, name: string) =>
  server.call({ method: "DELETE", path: `${NETWORK_POLICIES}/${name}` });

const TARGET = { podSelector: { matchLabels: { app: "app-0" } }, policyTypes: ["Ingress"] };

/** From before the request that creates a NetworkPolicy until the first packet that it refuses. */
async function policyTimes(server: ApiServer, probe: Probe, n: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < n; i++) {
    await probe.untilAnswered();
    times.push(await probe.refusedAfter(() => post(server, "deny", TARGET)));
    await remove(server, "deny");
  }
  await probe.untilAnswered();
  return times;
}

/** From before the request that changes the sender's label until the first packet that is refused for it. */
async function labelTimes(server: ApiServer, probe: Probe, n: number): Promise<number[]> {
  const label = (role: string) =>
    server.call({
      method: "PATCH",
      path: `${NAMESPACE}/pods/from`,
      body: { metadata: { labels: { role } } },
    });
  const ingress = [{ from: [{ podSelector: { matchLabels: { role: "frontend" } } }] }];
  await post(server, "frontend", { ...TARGET, ingress });
  await delay(1000);
  const times: number[] = [];
  for (let i = 0; i < n; i++) {
    await probe.untilAnswered();
    times.push(await probe.refusedAfter(() => label("other")));
    await label("frontend");
  }
  await remove(server, "frontend");
  return times;
}
