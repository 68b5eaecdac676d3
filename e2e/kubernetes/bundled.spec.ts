import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { exec, namespacePath } from "@margay/lab";
import { Cluster } from "./cluster/cluster.ts";
import { createPods, install, NAMESPACE } from "./cluster/release.ts";
import { nodeFolder } from "./cluster/runtime.ts";

/** etcd in the release and everything behind Services of a real kube-proxy, in both its modes. */
const NODES = ["n1", "n2", "n3"];
const MEMBERS = ["10.96.0.51", "10.96.0.52", "10.96.0.53"];
const THREE = {
  etcd: { bundled: { clusterIPs: MEMBERS } },
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
};
const withEtcd = (more: object) => ({ ...THREE, etcd: { bundled: { ...THREE.etcd.bundled, ...more } } });

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length, { proxies: ["iptables", "nftables", "iptables"] });
}, 240_000);
afterAll(() => cluster?.stop(), 30_000);

const onNode = (node: string, words: readonly string[]) =>
  exec(["nsenter", `--net=${namespacePath(node)}`, "--", ...words]);
const kubectl = (...words: string[]) => cluster.must("kubectl", words);
const TLS = ["ca", "cert", "key"] as const;
const FILES = {
  ca: "cacert=/etc/etcd/tls/ca.crt",
  cert: "cert=/etc/etcd/tls/tls.crt",
  key: "key=/etc/etcd/tls/tls.key",
};
const flags = TLS.map((name) => `--${FILES[name]}`);
/** etcdctl in a member's container, as `kubectl exec` would run it. */
const etcdctl = (member: number, ...words: string[]) =>
  cluster.execIn(`margay-etcd-${member}`, "etcd", ["etcdctl", ...flags, ...words]);
const url = (member: number) => `https://${MEMBERS[member]}:12379`;
const endpoint = (member: number) => [`--endpoints=${url(member)}`];
const all = `--endpoints=${[0, 1, 2].map((member) => url(member)).join()}`;
const healthy = async (): Promise<number> => {
  const text = await etcdctl(0, "endpoint", "health", all, "-w", "json").catch(() => "[]");
  return (JSON.parse(text || "[]") as { health: boolean }[]).filter(({ health }) => health).length;
};
const leads = async (): Promise<string> => {
  const text = await etcdctl(0, "endpoint", "status", all, "-w", "json");
  const statuses = JSON.parse(text) as { Status: { leader: number; header: { member_id: number } } }[];
  return `margay-etcd-${statuses.findIndex(({ Status }) => Status.leader === Status.header.member_id)}`;
};

test("one member on a node's disk, found through its Service", async () => {
  const one = { clusterIPs: MEMBERS.slice(0, 1), nodeName: "n2", storage: { type: "hostPath" } };
  await install(cluster, withEtcd(one), NODES.length);
  await cluster.must("helm", ["test", "margay", "-n", NAMESPACE]);
  expect(readdirSync(join(nodeFolder("n2"), "var/lib/margay-etcd"))).toContain("data");
  await cluster.must("helm", ["uninstall", "margay", "-n", NAMESPACE, "--timeout", "120s"], {
    timeoutMs: 150_000,
  });
}, 300_000);

test("three members: nodes are Ready by a datastore that runs on them", async () => {
  await install(cluster, THREE, NODES.length);
  expect(await healthy()).toBe(3);
}, 240_000);

test("etcd answers nobody without a certificate of the release's CA", async () => {
  const anonymous = await onNode("n1", [
    "etcdctl",
    "--insecure-skip-tls-verify",
    ...endpoint(0),
    "get",
    "/margay",
    "--command-timeout=3s",
  ]);
  expect(anonymous.code).not.toBe(0);
  const keys = await etcdctl(0, ...endpoint(1), "get", "/margay/v1/nodes/", "--prefix", "--keys-only");
  expect(keys.split("\n").filter(Boolean)).toHaveLength(NODES.length);
}, 30_000);

const PODS = [
  ["default/web", "n2", { app: "web" }],
  ["default/client", "n1", { role: "client" }],
  ["default/near", "n2", { role: "client" }],
  ["default/stranger", "n3", { role: "stranger" }],
] as const;
const ONLY_CLIENTS = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: only-clients, namespace: default }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress: [{ from: [{ podSelector: { matchLabels: { role: client } } }] }]
`;
const service = (name: string, more: object) => ({
  ...{ apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" } },
  spec: { selector: { app: "web" }, ports: [{ port: 80 }], ...more },
});
/** web, asked for at a Service's address: only its own answer counts. */
const askAt = (from: string, address: string) =>
  cluster.askAt(cluster.party(from), { name: "default/web", address });
const answers = (expected: boolean, from: string, address: string) =>
  cluster.eventually(
    `${from} ${expected ? "reaches" : "does not reach"} web at ${address}`,
    async () => ((await askAt(from, address)) === "reached") === expected,
    30_000,
  );

test("a Service behind either mode of kube-proxy: reached from every node, and its pods stay policed", async () => {
  await createPods(cluster, PODS);
  await cluster.apply(JSON.stringify(service("web", { clusterIP: "10.96.7.7" })));
  for (const from of ["default/client", "default/near", "default/stranger"])
    await answers(true, from, "10.96.7.7");
  await cluster.apply(ONLY_CLIENTS);
  await answers(false, "default/stranger", "10.96.7.7");
  for (const from of ["default/client", "default/near"]) await answers(true, from, "10.96.7.7");
}, 90_000);

test("kube-proxy inserts its rules in front; ours are the first again", async () => {
  for (const [node, chain] of ["n1", "n3"].flatMap((node) =>
    ["FORWARD", "INPUT", "OUTPUT"].map((chain) => [node, chain] as const),
  ))
    await cluster.eventually(
      `margay's rule is the first of ${chain} on ${node}`,
      async () => {
        const { stdout } = await onNode(node, ["iptables", "-S", chain]);
        const rules = stdout.split("\n").filter((line) => line.startsWith("-A"));
        return (
          rules.length > 1 &&
          rules.some((rule) => rule.includes("KUBE-")) &&
          (rules[0] ?? "").includes("margay")
        );
      },
      15_000,
    );
}, 60_000);

test("one of three members hangs: addresses are given and policies enforced; it comes back", async () => {
  const leader = await leads();
  const kubelet = cluster.kubelets.find((one) => one.processOf(leader, "etcd") !== undefined);
  await kubelet?.freeze(leader, "etcd");
  await createPods(cluster, [["default/late", "n1", { role: "stranger" }]]);
  await answers(false, "default/late", "10.96.7.7");
  await kubectl("label", "pod", "late", "role=client", "--overwrite");
  await answers(true, "default/late", "10.96.7.7");
  await kubelet?.kill(leader, "etcd");
  await cluster.eventually("three are healthy", async () => (await healthy()) === 3, 60_000);
}, 150_000);
