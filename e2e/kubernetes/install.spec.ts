import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { now, unstarvedMs } from "../testing/unstarved.ts";
import { items } from "./cluster/api.ts";
import { API_HOST, API_PORT, createNamespace } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { nodeState } from "./cluster/node-state.ts";
import { NUMBERED_PORT, Numbered, tor } from "./cluster/numbered.ts";
import { CHART, createPods, install, NAMESPACE, upgrade } from "./cluster/release.ts";
import { provide } from "./cluster/sandbox.ts";
import { recipes } from "./recipes.ts";

/** One cluster through its life, by Helm and kubectl alone: install, policies, upgrade, a node and a leader lost, uninstall. */
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [
    { name: "default-ipv4", cidr: "10.244.0.0/16", natOutgoing: true },
    { name: "default-ipv6", cidr: "fd00:10:244::/56", natOutgoing: true },
  ],
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
};
const NODES = ["n1", "n2", "n3"];

let cluster: Cluster;
const before = new Map<string, Record<string, string>>();
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length);
  provide("n1", ["portmap"]); // as most distributions do
  for (const node of NODES) before.set(node, await nodeState(node));
});
afterAll(() => cluster?.stop());

const holder = async (): Promise<string> => {
  const leases = await items<{ spec: { holderIdentity?: string } }>(
    cluster.admin,
    `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`,
  );
  return leases[0]?.spec.holderIdentity ?? "";
};
test("helm install: daemons on every node, nodes Ready, kubectl shows pools and peers", async () => {
  await install(cluster, VALUES, NODES.length);
  const shown = await cluster.must("kubectl", ["get", "ippools,bgppeers,bgpconfigurations"]);
  for (const name of ["default-ipv4", "default-ipv6", "/tor", "/default"]) expect(shown).toContain(name);
});

/** Pods of the default namespace on two nodes and of another one on the third. */
const PODS = [
  ["default/web", "n1", { app: "web" }],
  ["default/client", "n2", { role: "frontend" }],
  ["default/stranger", "n3", { role: "other" }],
  ["other/client", "n3", { role: "frontend" }],
  ["other/stranger", "n2", {}],
] as const;

/** "a > b:port/udp" as words. */
const parts = (line: string) => {
  const [, from = "", to = "", port, udp] = /^(\S+) > ([^:]+)(?::(\d+)(\/udp)?)?$/.exec(line) ?? [];
  return {
    ...{ from, to },
    ...(port !== undefined && { port: Number(port) }),
    ...(udp && { protocol: "udp" as const }),
  };
};
const becomes = (expected: boolean, line: string, family: 4 | 6 = 4) => {
  const { from, to, ...question } = parts(line);
  return cluster.becomes(expected, from, to, { ...question, family });
};
const allBecome = (expected: boolean, lines: readonly string[]) =>
  Promise.all(lines.flatMap((line) => [becomes(expected, line, 4), becomes(expected, line, 6)]));

test("helm test: every node has applied what was written", async () => {
  await cluster.must("helm", ["test", "margay", "-n", NAMESPACE]);
});

test("every panel of the dashboard asks for what a daemon measures", async () => {
  const pages = [9097, 9098, 9099].map((port) => cluster.answer("n1", port, "metrics"));
  const measured = new Set(
    (await Promise.all(pages)).flatMap(({ stdout }) =>
      [...stdout.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name),
    ),
  );
  const text = readFileSync(join(CHART, "files/margay-dashboard.json"), "utf8");
  const asked = [...text.matchAll(/"expr": "(.*)"/g)].flatMap(([, expr = ""]) =>
    [...expr.matchAll(/\b(margay|process)_[a-z_]+/g)].map(([name]) => name.replace(/_bucket$/, "")),
  );
  expect(asked.length).toBeGreaterThan(10);
  expect(asked.filter((name) => !measured.has(name))).toEqual([]);
});

test("pods of all nodes reach each other, over both families", async () => {
  await createNamespace(cluster.admin, "other", { project: "myproject" });
  await createPods(cluster, PODS);
  for (const [from] of PODS)
    for (const [to] of PODS)
      if (from !== to) {
        await cluster.becomes(true, from, to);
        await cluster.becomes(true, from, to, { family: 6 });
      }
});

describe("recipes of the Kubernetes documentation", () => {
  test.each(recipes.map((recipe) => [recipe.title, recipe] as const))(
    "%s",
    async (_title, { yaml, reached, refused }) => {
      await cluster.apply(yaml);
      await allBecome(false, refused);
      await allBecome(true, reached);
      await cluster.must("kubectl", ["delete", "-f", "-"], { input: yaml });
      await allBecome(true, refused);
    },
  );
});

test("a label of a pod and of a namespace decide anew when they change", async () => {
  const [recipe] = recipes.filter(({ title }) => title.startsWith("the documentation's example"));
  await cluster.apply(recipe?.yaml ?? "");
  await becomes(false, "default/stranger > default/web:8080");
  await cluster.must("kubectl", ["label", "pod", "stranger", "role=frontend", "--overwrite"]);
  const endpoints = () => cluster.margay(["get", "workloadendpoints", "-o", "yaml"]);
  let said = "";
  await cluster.eventually(
    () => `its endpoint has the label: ${said}`,
    async () => {
      said = await endpoints();
      return said.split("---").some((one) => /pod: stranger/.test(one) && /role: frontend/.test(one));
    },
  );
  await becomes(true, "default/stranger > default/web:8080");
  await cluster.must("kubectl", ["label", "namespace", "other", "project-"]);
  await becomes(false, "other/client > default/web:8080");
});

test("without its policies the cluster is open again", async () => {
  await cluster.must("kubectl", ["delete", "networkpolicies", "--all"]);
  await becomes(true, "default/client > default/web");
});

const ONE_PORT = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: one-port, namespace: default }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress: [{ ports: [{ port: 80 }, { protocol: UDP, port: ${NUMBERED_PORT} }] }]
`;

test("helm upgrade replaces every daemon and the controllers: no packet is lost, none comes through that may not", async () => {
  await cluster.apply(ONE_PORT);
  await becomes(false, "default/stranger > default/web:8080");
  const [web, client] = [cluster.party("default/web"), cluster.party("default/client")];
  const ways = [
    [client, web],
    [web, client],
    [tor, cluster.party("other/stranger")],
  ] as const;
  const streams = await Promise.all(
    ways.flatMap(([from, to]) => ([4, 6] as const).map((family) => Numbered.start(from, to, family))),
  );
  const answers: string[] = [];
  let asking = true;
  const asked = (async () => {
    while (asking) {
      const forbidden = cluster.ask("default/stranger", "default/web", { port: 8080 });
      answers.push(await cluster.ask("other/client", "default/web"));
      answers.push((await forbidden) === "timeout" ? "reached" : "came through");
    }
  })();
  const more = {
    node: { agent: { logLevel: "debug" }, bgpd: { logLevel: "debug" } },
    controllers: { logLevel: "debug" },
  };
  await upgrade(cluster, { ...VALUES, ...more }, NODES.length);
  asking = false;
  await asked;
  expect(answers.filter((answer) => answer !== "reached")).toEqual([]);
  for (const { sent, lost } of await Promise.all(streams.map((stream) => stream.stop()))) {
    expect(sent).toBeGreaterThan(500);
    expect(lost).toEqual([]);
  }
  await cluster.must("kubectl", ["delete", "networkpolicy", "one-port"]);
});

const hasProfile = async (namespace: string) =>
  (await cluster.margay(["get", "profiles", "-o", "name"])).includes(namespace);
/** Ends the leader in that way. @returns its name, and what waits until its kubelet has started it again */
async function endLeader(how: "kill" | "freeze") {
  await cluster.eventually("somebody leads", async () => (await holder()) !== "");
  const leader = await holder();
  const kubelet = cluster.kubelets.find((one) => one.processOf(leader, "controllers") !== undefined);
  const its = kubelet?.processOf(leader, "controllers");
  await kubelet?.[how](leader, "controllers");
  const isBack = () =>
    kubelet?.processOf(leader, "controllers") !== its && kubelet?.isReady(leader, "controllers") === true;
  const back = async () => {
    if (how === "freeze") await kubelet?.kill(leader, "controllers");
    cluster.resume();
    await cluster.eventually(`${leader} is back`, isBack);
  };
  return { leader, back };
}

test("the leader is killed and begins anew: within 15 s the work goes on", async () => {
  const { back } = await endLeader("kill");
  await cluster.must("kubectl", ["create", "namespace", "after-the-kill"]);
  await cluster.eventually("a new namespace arrives", () => hasProfile("after-the-kill"), 15_000);
  await cluster.pause();
  await back();
});

test.each([
  ["is killed (kill -9)", "kill"],
  ["hangs", "freeze"],
] as const)(
  "the leader %s, and nothing starts it again: the other leads within 15 s, and does the work",
  async (_how, how) => {
    await cluster.pause(); // its kubelet is gone as well
    const since = now();
    const { leader, back } = await endLeader(how);
    try {
      await cluster.must("kubectl", ["create", "namespace", `${how}-alone`]);
      await cluster.eventually("another leads", async () => (await holder()) !== leader);
      const led = now();
      process.stdout.write(`${how}: takeover after ${Math.round(led.wallMs - since.wallMs)} ms\n`);
      expect(unstarvedMs(since, led)).toBeLessThan(15_000);
      await cluster.eventually("a new namespace arrives", () => hasProfile(`${how}-alone`));
    } finally {
      await back();
    }
  },
);

test("a hundred pods at once on one node: all run, and all of them go", async () => {
  const spent = async (): Promise<number> => {
    const { stdout } = await cluster.answer("n1", 9099, "metrics");
    const sums = [...stdout.matchAll(/^margay_agent_cni_seconds_sum\{.*\} (\S+)$/gm)];
    return sums.reduce((all, [, seconds]) => all + Number(seconds), 0);
  };
  const before = await spent();
  const since = performance.now();
  const labels = { burst: "yes" };
  await createPods(
    cluster,
    Array.from({ length: 100 }, (_, i) => [`default/burst-${i}`, "n1", labels] as const),
  );
  const ms = Math.round(performance.now() - since);
  process.stdout.write(
    `100 pods run after ${ms} ms; in the agent ${((await spent()) - before).toFixed(2)} s of calls\n`,
  );
  const burst = cluster.kubelet("n1").parties.filter(({ name }) => name.startsWith("default/burst-"));
  expect(new Set(burst.flatMap(({ addresses }) => addresses)).size).toBe(200); // of both families, none twice
  await becomes(true, "default/burst-99 > default/client");
  await cluster.must("kubectl", ["delete", "pods", "-l", "burst=yes", "--wait=false"]);
  await cluster.eventually("they have gone", () =>
    cluster.kubelet("n1").parties.every(({ name }) => !name.startsWith("default/burst-")),
  );
});

test("what every container has used so far is within what it requests, and a seccomp profile holds it", async () => {
  const containers = [
    ["margay-node-n1", "agent"],
    ["margay-node-n1", "bgpd"],
    [await holder(), "controllers"],
  ] as const;
  for (const [pod, container] of containers) {
    const { peakMiB, cpuSeconds, seconds, requestedMiB, isFiltered } = await cluster.usage(pod, container);
    const cpu = ((1000 * cpuSeconds) / seconds).toFixed(0);
    process.stdout.write(
      `${container}: peak ${peakMiB.toFixed(0)} MiB, ${cpu}m CPU over ${seconds.toFixed(0)} s\n`,
    );
    expect(peakMiB).toBeLessThan(requestedMiB);
    expect([container, isFiltered]).toEqual([container, true]);
  }
});

test("a node is deleted: its blocks, its Node and its endpoints go", async () => {
  await cluster.must("kubectl", ["delete", "node", "n3", "--wait=false"]);
  const kinds = [["nodes"], ["blockaffinities"], ["workloadendpoints", "-A"]];
  const left = async () =>
    (await Promise.all(kinds.map((words) => cluster.margay(["get", ...words, "-o", "name"])))).join("");
  await cluster.eventually(
    "nothing of n3 is in the datastore",
    async () => !/\bn3\b/.test(await left()),
    60_000,
  );
  await cluster.becomes(true, "default/client", "default/web");
});

test("RBAC: nothing was refused", () => {
  for (const account of ["margay-controllers", "margay-node"])
    expect([...cluster.audit(`system:serviceaccount:${NAMESPACE}:${account}`).refused]).toEqual([]);
});

test("helm uninstall leaves every node as it was", async () => {
  for (const [id] of PODS) {
    const [namespace = "", name = ""] = id.split("/");
    await cluster.must("kubectl", [
      "-n",
      namespace,
      "delete",
      "pod",
      name,
      "--ignore-not-found",
      "--wait=false",
    ]);
  }
  await cluster.eventually(
    "pods are gone",
    () => cluster.kubelets.flatMap(({ parties }) => parties).length === 0,
    60_000,
  );
  await cluster.must("helm", ["uninstall", "margay", "-n", NAMESPACE]);
  for (const node of ["n1", "n2"]) expect(await nodeState(node)).toEqual(before.get(node));
});
