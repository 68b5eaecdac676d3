import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ip, must, namespacePath } from "@margay/lab";
import { now, unstarvedMs } from "../testing/unstarved.ts";
import { openCrd } from "./admin-policies.ts";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { calicoDefinitions } from "./calico.mjs";
import { CALICO_OBJECTS } from "./calico-objects.ts";
import { API_HOST, API_PORT } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { commands, desk, follow } from "./cluster/guide.ts";
import type { Pod } from "./cluster/objects.ts";
import { createPods, install, readyNodes, upgrade } from "./cluster/release.ts";
import { nodeFolder } from "./cluster/runtime.ts";
import { provide, Sandbox } from "./cluster/sandbox.ts";

/**
 * From flannel, as docs/guide/moving-from-calico.md says: what flannel's host-gw leaves on nodes (the bridge and host-local
 * plugins with a range per node, a route per node), and Margay on one node after the other.
 */
const OLD = { n1: "10.50.1.0/24", n2: "10.50.2.0/24" } as const;
const NODES = ["n1", "n2"] as const;
type Node = (typeof NODES)[number];
const ADDRESS = { n1: "172.20.0.11", n2: "172.20.0.12" } as const;
const ROUTER = "172.20.0.2";
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [{ name: "default-ipv4", cidr: "10.244.0.0/16", natOutgoing: true }],
  bgpPeers: [{ name: "tor", peerIP: ROUTER, asNumber: 65000 }],
  controllers: { replicas: 1 },
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length);
  for (const node of NODES) await flannel(node);
  await must(["nsenter", `--net=${namespacePath("tor")}`, "--", "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  for (const node of NODES) await ip("tor", [`route add ${OLD[node]} via ${ADDRESS[node]}`]);
});
afterAll(() => cluster?.stop());

const conflist = (node: Node) => join(nodeFolder(node), "etc/cni/net.d/10-flannel.conflist");
const onNode = (node: string, words: readonly string[]) =>
  must(["nsenter", `--net=${namespacePath(node)}`, "--", ...words]);
const kubectl = (...words: string[]) => cluster.must("kubectl", words);
/** Of `kubectl wait`. */
const LONG = "--timeout=300s";

async function flannel(node: Node): Promise<void> {
  const other = node === "n1" ? "n2" : "n1";
  await onNode(node, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  await ip(node, [`route add default via ${ROUTER}`, `route add ${OLD[other]} via ${ADDRESS[other]}`]);
  const ipam = { type: "host-local", subnet: OLD[node], dataDir: join(nodeFolder(node), "var/lib/cni") };
  const bridge = { type: "bridge", bridge: "cni0", isDefaultGateway: true, ipMasq: false, ipam };
  provide(node, ["bridge", "host-local"]);
  mkdirSync(join(conflist(node), ".."), { recursive: true });
  writeFileSync(conflist(node), JSON.stringify({ cniVersion: "0.4.0", name: "cbr0", plugins: [bridge] }));
}

/** What the report says of CALICO_OBJECTS. */
const LOST = [
  "ipipMode Always: there is no IP-in-IP",
  "its Secret must be among those that the chart mounts",
  "bpfEnabled: there is no eBPF dataplane",
  "wireguardEnabled: traffic between nodes is not encrypted",
  "maxBlocksPerHost 4: no limit here",
  "leakGracePeriod 20m: --leak-grace-period",
];

const reaches = async (...pairs: (readonly [string, string])[]) => {
  for (const [from, to] of pairs) {
    await cluster.becomes(true, from, to);
    await cluster.becomes(true, to, from);
  }
};
const addressOf = (pod: string) => cluster.party(pod).addresses[0];

test("before: flannel's nodes are Ready, and its pods reach each other", async () => {
  await createPods(cluster, [
    ["default/old1", "n1", {}],
    ["default/old2", "n2", {}],
  ]);
  await cluster.eventually("both nodes are Ready", async () => (await readyNodes(cluster)) === 2);
  await reaches(["default/old1", "default/old2"]);
});

test("Margay on the nodes with the label alone, beside flannel: pods go on to be flannel's", async () => {
  await kubectl("label", "node", "n1", "network=margay");
  await install(cluster, { ...VALUES, node: { nodeSelector: { network: "margay" } } }, 1);
  await createPods(cluster, [["default/still", "n1", {}]]);
  expect(addressOf("default/still")).toMatch(/^10\.50\.1\./);
  await reaches(["default/old1", "default/old2"], ["default/still", "default/old2"]);
});

test("flannel's configuration off n1: new pods are Margay's, and reach flannel's on both nodes", async () => {
  rmSync(conflist("n1"));
  await createPods(cluster, [["default/new1", "n1", { app: "new" }]]);
  expect(addressOf("default/new1")).toMatch(/^10\.244\./);
  await reaches(
    ["default/new1", "default/old1"],
    ["default/new1", "default/old2"],
    ["default/old1", "default/old2"],
  );
});

test("policies hold for Margay's pods, also against flannel's", async () => {
  await cluster.apply(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: closed }
spec: { podSelector: { matchLabels: { app: new } }, ingress: [{ from: [{ ipBlock: { cidr: 10.50.2.0/24 } }] }] }
`);
  await cluster.becomes(false, "default/old1", "default/new1");
  await cluster.becomes(true, "default/old2", "default/new1");
  await kubectl("delete", "networkpolicy", "closed");
  await cluster.becomes(true, "default/old1", "default/new1");
});

test("n2 follows; flannel goes, and all pods are Margay's", async () => {
  await kubectl("label", "node", "n2", "network=margay");
  await upgrade(cluster, VALUES, 2);
  rmSync(conflist("n2"));
  await kubectl("delete", "pod", "old1", "old2", "still", "--wait=false");
  await cluster.eventually("flannel's pods have ended", async () => {
    const names = (await cluster.pods()).map(({ metadata }) => metadata.name);
    return !names.some((name) => ["old1", "old2", "still"].includes(name));
  });
  for (const node of NODES) {
    await ip(node, ["link delete cni0"]);
    await ip(node, [`route del ${OLD[node === "n1" ? "n2" : "n1"]}`]);
  }
  await createPods(cluster, [["default/new2", "n2", {}]]);
  expect(addressOf("default/new2")).toMatch(/^10\.244\./);
  await reaches(["default/new1", "default/new2"]);
});

test("the API server is away for a minute: all live on, one agent begins anew, a pod is added by what is known of it", async () => {
  await cluster.pause(); // a pod that is bound, and not started yet
  const labels = { role: "known" };
  const spec = { nodeName: "n1", containers: [{ name: "app", image: "app" }] };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "cached", namespace: "default", labels },
    spec,
  };
  const path = "/api/v1/namespaces/default/pods";
  const made = (await cluster.admin.call({ method: "POST", path, body: pod })) as Pod; // what it answers with
  const since = now();
  await cluster.eventually("the agent hears of it", () => unstarvedMs(since, now()) > 2000);
  await cluster.processes.signal("kube-apiserver", "SIGSTOP");
  let sandbox: Sandbox | undefined;
  try {
    const before = performance.now();
    sandbox = await Sandbox.open(made);
    const ms = Math.round(performance.now() - before);
    expect(await cluster.ask("default/new1", "default/new2")).toBe("reached");
    const kubelet = cluster.kubelet("n1");
    const agent = () => kubelet.processOf("margay-node-n1", "agent") ?? "";
    const former = agent();
    await kubelet.kill("margay-node-n1", "agent"); // and begins anew without it
    await cluster.eventually("its kubelet has started it again", async () => {
      await kubelet.startAgain("margay-node-n1");
      return agent() !== former;
    });
    await new Promise((resolve) => setTimeout(resolve, 60_000)); // as long as a liveness probe would look on
    expect(await cluster.ask("default/new1", "default/new2")).toBe("reached");
    const shown = await cluster.margay(["get", "workloadendpoints", "-A", "-o", "yaml"]);
    expect(shown.split("---").find((one) => /pod: cached/.test(one))).toContain("role: known");
    for (const [node, port] of [
      ...NODES.flatMap((one) => [[one, 9099] as const, [one, 9098] as const]),
      ["n1", 9097] as const,
    ])
      expect([node, port, (await cluster.answer(node, port, "healthz")).code]).toEqual([node, port, 0]);
    expect(cluster.processes.isRunning(agent())).toBe(true);
    let said = "";
    await cluster.eventually(
      () => `the agent that began anew says who does not answer: ${said}`, // as long as a page of a list may take
      async () => {
        said = (await cluster.answer("n1", 9099, "readyz")).stdout;
        return /API server https:/.test(said);
      },
    );
    process.stdout.write(`ADD without the API server: ${ms} ms\n`);
  } finally {
    await cluster.processes.signal("kube-apiserver", "SIGCONT");
    await sandbox?.close(); // jest would wait for its sockets
    cluster.resume();
  }
  await cluster.eventually(
    "kubectl answers",
    async () => (await cluster.run("kubectl", ["get", "--raw", "/readyz"])).code === 0,
  );
});

const DEFINITIONS: string = calicoDefinitions();
const live = () => follow(cluster, 'margay import calico --kubeconfig "$KUBECONFIG" -o yaml > margay.yaml');

(existsSync(DEFINITIONS) ? test : test.skip)(
  "a cluster's objects by Calico's own definitions of its kinds: all are read from the API server, what is lost is named",
  async () => {
    await kubectl("apply", "--server-side", "-f", DEFINITIONS);
    await kubectl("wait", "--for=condition=Established", "crd", "--all", LONG);
    await cluster.apply(CALICO_OBJECTS); // a field that Calico does not know is refused
    desk(VALUES);
    const report = await live();
    expect(report).toContain("16 imported, 2 skipped, 0 refused");
    for (const lost of LOST) expect(report).toContain(lost);
    const read = await follow(cluster, "cat margay.yaml");
    for (const role of ["threat", "partner", "edge"]) expect(read).toContain(`role: ${role}`); // of an annotation
    const applied = await follow(cluster, "kubectl apply --dry-run=server -f margay.yaml");
    expect(applied.match(/\.margay\.dev\/\S+ (created|configured|unchanged)/g)).toHaveLength(16);
    await cluster.must("kubectl", ["delete", "-f", "-"], { input: CALICO_OBJECTS });
  },
);

test("Calico's objects, by the guide: what is read of them is for kubectl apply", async () => {
  const group = "crd.projectcalico.org";
  for (const kind of ["IPPool", "BGPConfiguration", "BGPPeer", "FelixConfiguration", "GlobalNetworkPolicy"])
    if (!existsSync(DEFINITIONS)) await cluster.apply(openCrd({ group, kind, version: "v1" }));
  await kubectl("wait", "--for=condition=Established", "crd", "--all", LONG);
  const calico = (kind: string, name: string, spec: object) =>
    cluster.apply(JSON.stringify({ apiVersion: `${group}/v1`, kind, metadata: { name }, spec }));
  await calico("IPPool", "default-ipv4-ippool", { cidr: "192.168.0.0/16", ipipMode: "Always" });
  await calico("GlobalNetworkPolicy", "default.deny", { selector: "app == 'db'", types: ["Ingress"] });
  desk(VALUES);
  const report = await follow(cluster, commands("moving-from-calico.md", "Calico, node by node"));
  expect(report).toMatch(/IPPool\/default-ipv4-ippool .*ipipMode Always: there is no IP-in-IP/);
  expect(report).toContain("2 imported, 0 skipped, 0 refused");
  const applied = await follow(cluster, "kubectl apply --dry-run=server -f margay.yaml");
  expect(applied).toContain("globalnetworkpolicy.margay.dev/default.deny created");
  const read = `${await live()}${await follow(cluster, "cat margay.yaml")}`;
  expect(read).toContain("2 imported, 0 skipped, 0 refused");
  for (const it of ["IPPool/default-ipv4-ippool", "default.deny"]) expect(read).toContain(it);
  const served = { group: "projectcalico.org", kind: "GlobalNetworkPolicy", version: "v3" };
  await cluster.apply(openCrd(served)); // Calico's own API server, which knows the same objects
  await kubectl("wait", "--for=condition=Established", "crd/globalnetworkpolicies.projectcalico.org", LONG);
  const policy = { apiVersion: "projectcalico.org/v3", kind: served.kind, metadata: { name: "default.v3" } };
  await cluster.apply(JSON.stringify({ ...policy, spec: { selector: "all()", types: ["Egress"] } }));
  expect(await live()).toContain("1 imported, 0 skipped, 0 refused");
  expect(await follow(cluster, "cat margay.yaml")).toContain("name: default.v3");
});
