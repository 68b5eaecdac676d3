import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { etcdStore } from "@margay/datastore";
import { type ApiServer, apiServer, memoryApiServer } from "@margay/kubernetes";
import { daemonReady, must, nodeDaemons, Processes, topology } from "@margay/lab";
import { createNamespace, startApiServer } from "../kubernetes/cluster/api-server.ts";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { toolsFolder } from "../kubernetes/tools.mjs";
import type { Inside } from "./inside.ts";
import { address4, type BenchPod, call, end, margay, podNamespace } from "./plugin.ts";
import { Probe } from "./probe.ts";
import { childrenCpuMs, cpuMs, pidOf, raiseAll } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

const MARGAY = [
  process.execPath,
  fileURLToPath(new URL("../../packages/margay/dist/margay.mjs", import.meta.url)),
];
const PROGRAM = join(toolsFolder() as string, "kube-apiserver");
const FOLDER = "/run/kubernetes-latency";
const PODS = 100;
const POLICIES = 1000;
const NAMESPACE = "/api/v1/namespaces/bench";
const NETWORK_POLICIES = "/apis/networking.k8s.io/v1/namespaces/bench/networkpolicies";

interface Kubernetes {
  /** Which API server it is. */
  readonly subject: string;
  readonly kubeconfig: string;
  readonly server: ApiServer;
}

/**
 * What a cluster's user waits for, from the request to the API server until a packet is refused or the last ADD has ended: with
 * kube-apiserver where its tools are built (npm run e2e:kubernetes), with the tests' own otherwise.
 */
export async function kubernetesLatency(inside: Inside): Promise<Result[]> {
  const { relay, quick, say, etcd } = inside;
  mkdirSync(FOLDER);
  const processes = new Processes({
    ...{ logs: FOLDER, dieWithUs: true },
    onExit: ({ name, ended }, words) => say(`${name} ended: ${ended}: ${words}`),
  });
  const { subject, kubeconfig, server } = existsSync(PROGRAM) ? await real(processes) : await simulated();
  say(subject);
  await createNamespace(server, "bench");
  await restartAgent(processes, kubeconfig);
  const flags = ["--node", "bench", "--kubeconfig", kubeconfig, "--etcd-endpoints", etcd];
  const command = [
    ...MARGAY,
    "controllers",
    ...flags,
    "--run-dir",
    FOLDER,
    "--leader-elect-namespace",
    "bench",
  ];
  processes.start({ name: "controllers", command: [...command, "--health-port", "9097"] });

  const pods = Array.from({ length: PODS }, (_, i) => podNamespace(`burst-${i}`));
  const from = podNamespace("from");
  await together(pods, ({ name }, i) => createPod(server, name, "n1", { app: `app-${i}` }));
  await createPod(server, "from", "n2", { role: "frontend" });
  raiseAll();
  const burst = await bursts(relay, pods, { rounds: quick ? 1 : 3, say });

  say(`${POLICIES} policies`);
  await writePolicies(server, etcd);
  await must([...MARGAY, "wait", "--etcd-endpoints", etcd, "--timeout", "60"]);
  await call(margay(relay, "n2", { role: "frontend" }), from, "ADD");
  const target = address4(burst.first);
  const probe = await Probe.open({ from: from.namespacePath, to: pods[0]?.namespacePath ?? "", target });
  const n = quick ? 10 : 100;
  const policy = await policyTimes(server, probe, n);
  say("labels");
  const label = await labelTimes(server, probe, n);
  probe.close();
  await Promise.all([end(margay(relay, "n2"), from), ...pods.map((pod) => end(margay(relay, "n1"), pod))]);
  const row = (benchmark: string, times: number[], target?: Result["target"]): Result => ({
    ...{ benchmark, subject, unit: "ms", ...summary(times) },
    ...(target && { target }),
  });
  return [
    row("kubernetes-policy-to-enforced", policy, { of: "p99", atMost: 100 }),
    row("kubernetes-label-to-enforced", label, { of: "p99", atMost: 150 }),
    row("kubernetes-100-pods-at-once", burst.times, { of: "p50", atMost: 1000 }),
    row("kubernetes-pod-add-cpu", burst.cpu),
  ];
}

async function real(processes: Processes): Promise<Kubernetes> {
  const { admin, kubeconfig } = await startApiServer(processes, { program: PROGRAM, folder: FOLDER });
  return { subject: "kube-apiserver", kubeconfig, server: admin };
}

async function simulated(): Promise<Kubernetes> {
  const { access } = await memoryApiServer();
  const kubeconfig = `${FOLDER}/kubeconfig`;
  const document = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace: "bench" } }],
    clusters: [{ name: "c", cluster: { server: access.url } }],
    users: [{ name: "u", user: { token: "t" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(document));
  return { subject: "the tests' API server", kubeconfig, server: apiServer(access) };
}

/** Node 1's agent again, as one that follows Kubernetes. */
async function restartAgent(processes: Processes, kubeconfig: string): Promise<void> {
  process.kill(Number(pidOf("agent", "n1")), "SIGKILL");
  const [node] = topology({ nodes: 2, routeReflectors: 0 }).nodes;
  const [daemon] = node ? nodeDaemons(node, ["agent"], MARGAY) : [];
  if (!daemon) throw new Error("the lab has no first node");
  const flags = [
    "--kubeconfig",
    kubeconfig,
    "--ip-autodetection-method",
    "none",
    "--ip6-autodetection-method",
    "none",
  ];
  const spec = { ...daemon.process, command: [...daemon.process.command, ...flags] };
  processes.start(spec);
  await daemonReady({ ...daemon, process: spec }, processes);
}

const createPod = (server: ApiServer, name: string, nodeName: string, labels: object) =>
  server.call({
    ...{ method: "POST", path: `${NAMESPACE}/pods` },
    body: {
      ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "bench", labels } },
      spec: { nodeName, containers: [{ name: "app", image: "app" }] },
    },
  });

/** Some at a time: the API server refuses a storm. */
async function together<T>(all: readonly T[], act: (one: T, i: number) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < all.length; at += 50)
    await Promise.all(all.slice(at, at + 50).map((one, i) => act(one, at + i)));
}

/**
 * All ADDs at once, some rounds; the pods of the last one stay. And what one of them cost the agent and the relays in CPU time, to be
 * held against pod-add-cpu, whose agent follows no API server.
 */
async function bursts(
  relay: string,
  pods: readonly BenchPod[],
  { rounds, say }: { rounds: number; say: Inside["say"] },
): Promise<{ times: number[]; cpu: number[]; first: string }> {
  const times: number[] = [];
  const cpu: number[] = [];
  const agent = pidOf("agent");
  const spent = () => childrenCpuMs() + cpuMs(agent);
  let first = "";
  for (let round = 1; round <= rounds; round++) {
    say(`100 pods at once: ${round} of ${rounds}`);
    await delay(2000); // the kernel cleans up what the last round deleted
    const before = spent();
    const started = performance.now();
    const answers = await Promise.all(pods.map((pod) => call(margay(relay, "n1"), pod, "ADD")));
    times.push(performance.now() - started);
    cpu.push((spent() - before) / pods.length);
    first = answers[0]?.result ?? "";
    if (round < rounds) for (const pod of pods) await call(margay(relay, "n1"), pod, "DEL");
  }
  return { times, cpu, first };
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
