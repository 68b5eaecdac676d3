import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { exec, namespacePath } from "@margay/lab";
import { Cluster } from "./cluster/cluster.ts";
import { CHART, createPods, install, NAMESPACE, settled, upgrade } from "./cluster/release.ts";
import { nodeFolder } from "./cluster/runtime.ts";

/**
 * etcd in the release and everything behind Services of a real kube-proxy, in both its modes: on n1 both write iptables, on n2 both
 * nftables, on n3 kube-proxy iptables and Margay nftables.
 */
const NODES = ["n1", "n2", "n3"];
const MEMBERS = ["10.96.0.51", "10.96.0.52", "10.96.0.53"];
const SNAPSHOTS = "/var/lib/margay-etcd-snapshots";
const THREE = {
  etcd: { bundled: { clusterIPs: MEMBERS } },
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
};
const withEtcd = (more: object) => ({ ...THREE, etcd: { bundled: { ...THREE.etcd.bundled, ...more } } });

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length, { proxies: ["iptables", "nftables", "iptables"] });
});
afterAll(() => cluster?.stop());

const onNode = (node: string, words: readonly string[]) =>
  exec(["nsenter", `--net=${namespacePath(node)}`, "--", ...words]);
const kubectl = (...words: string[]) => cluster.must("kubectl", words);
/** Of `kubectl wait`. */
const LONG = "--timeout=300s";
const TLS = ["ca", "cert", "key"] as const;
const FILES = {
  ca: "cacert=/etc/etcd/tls/ca.crt",
  cert: "cert=/etc/etcd/tls/tls.crt",
  key: "key=/etc/etcd/tls/tls.key",
};
/** Of a busy machine, whose disk answers late. */
const PATIENT = ["--dial-timeout=10s", "--command-timeout=30s"];
/** etcdctl's own: somebody is asked again. */
const QUICK = ["--dial-timeout=2s", "--command-timeout=5s"];
const flags = [...TLS.map((name) => `--${FILES[name]}`), ...PATIENT];
/** etcdctl in a member's container, as `kubectl exec` would run it. */
const etcdctl = (member: number, ...words: string[]) =>
  cluster.execIn(`margay-etcd-${member}`, "etcd", ["etcdctl", ...flags, ...words]);
const url = (member: number) => `https://${MEMBERS[member]}:12379`;
const endpoint = (member: number) => [`--endpoints=${url(member)}`];
const all = `--endpoints=${[0, 1, 2].map((member) => url(member)).join()}`;
const healthy = async (): Promise<number> => {
  const text = await etcdctl(0, "endpoint", "health", all, ...QUICK, "-w", "json").catch(() => "[]");
  return (JSON.parse(text || "[]") as { health: boolean }[]).filter(({ health }) => health).length;
};
const leads = async (): Promise<string> => {
  const text = await etcdctl(0, "endpoint", "status", all, "-w", "json");
  const statuses = JSON.parse(text) as { Status: { leader: number; header: { member_id: number } } }[];
  return `margay-etcd-${statuses.findIndex(({ Status }) => Status.leader === Status.header.member_id)}`;
};

const snapshots = (node: string): string[] => {
  const folder = join(nodeFolder(node), SNAPSHOTS);
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".db")) : [];
};
/** "namespace/pod address" of each. */
const endpoints = async (): Promise<string[]> => {
  const text = await cluster.execIn("margay-node-n1", "agent", [
    "margay",
    "get",
    "workloadendpoints",
    "-A",
    "-o",
    "json",
  ]);
  const { items } = JSON.parse(text) as {
    items: { metadata: { namespace: string }; spec: { pod: string; ipNetworks: string[] } }[];
  };
  return items
    .map(({ metadata, spec }) => `${metadata.namespace}/${spec.pod} ${spec.ipNetworks.join()}`)
    .sort();
};

/** Why `helm upgrade` refuses these values; nothing when it would do it. */
const refused = async (values: object): Promise<string> => {
  const words = ["upgrade", "margay", CHART, "-n", NAMESPACE, "--dry-run=server", "-f", "-"];
  const { code, stderr } = await cluster.run("helm", words, { input: JSON.stringify(values) });
  return code === 0 ? "" : stderr;
};

test("one member on a node's disk, found through its Service", async () => {
  const one = { clusterIPs: MEMBERS.slice(0, 1), nodeName: "n2", storage: { type: "hostPath" } };
  await install(cluster, withEtcd(one), NODES.length);
  await cluster.must("helm", ["test", "margay", "-n", NAMESPACE]);
  expect(readdirSync(join(nodeFolder("n2"), "var/lib/margay-etcd"))).toContain("data");
  const two =
    "the data of this release is 1 in /var/lib/margay-etcd of n2; 3 in claims would begin empty beside it";
  expect(await refused(THREE)).toContain(two); // two empty members would be a quorum beside the old one
  expect(await refused(withEtcd({ ...one, nodeName: "n3" }))).toContain("of n3 would begin empty");
  expect(await refused(withEtcd({ ...one, quotaBytes: 4294967296 }))).toBe("");
  await cluster.must("helm", ["uninstall", "margay", "-n", NAMESPACE]);
});

test("three members: nodes are Ready by a datastore that runs on them", async () => {
  const again = ["install", "margay", CHART, "-n", NAMESPACE, "--dry-run=server", "-f", "-"];
  const { stderr } = await cluster.run("helm", again, { input: JSON.stringify(THREE) });
  expect(stderr).toContain("delete it and the Secret margay-etcd-ca"); // what uninstall has left is data still
  await kubectl("-n", NAMESPACE, "delete", "secret", "margay-etcd-ca");
  await install(cluster, THREE, NODES.length);
  await cluster.eventually("three are healthy", async () => (await healthy()) === 3);
  await cluster.apply(JSON.stringify(N1_BY_IPTABLES));
});

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
});

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
const N1_BY_IPTABLES = {
  ...{ apiVersion: "margay.dev/v1", kind: "FelixConfiguration", metadata: { name: "node.n1" } },
  spec: { nftablesMode: "Disabled" },
};
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
});

test("kube-proxy inserts its rules in front; ours are the first again", async () => {
  for (const chain of ["FORWARD", "INPUT", "OUTPUT"])
    await cluster.eventually(`margay's rule is the first of ${chain} on n1`, async () => {
      const { stdout } = await onNode("n1", ["iptables", "-S", chain]);
      const rules = stdout.split("\n").filter((line) => line.startsWith("-A"));
      return (
        rules.length > 1 &&
        rules.some((rule) => rule.includes("KUBE-")) &&
        (rules[0] ?? "").includes("margay")
      );
    });
});

test("kube-proxy's iptables keep no node from nftables", async () => {
  expect((await onNode("n3", ["iptables", "-S"])).stdout).toContain("KUBE-");
  for (const node of ["n2", "n3"]) {
    expect((await onNode(node, ["nft", "list", "tables"])).stdout).toContain("table ip margay");
    expect((await onNode(node, ["iptables-save"])).stdout).not.toMatch(/^:margay-/m); // Services are called so, too
  }
});

test("externalTrafficPolicy Local: the router knows the one node that has the pod, and the policy sees who asks", async () => {
  const external = { type: "NodePort", externalTrafficPolicy: "Local", externalIPs: ["203.0.113.10"] };
  await cluster.apply(JSON.stringify(service("outside", external)));
  const configuration = { serviceExternalIPs: [{ cidr: "203.0.113.0/24" }] };
  await kubectl(
    "patch",
    "bgpconfiguration",
    "default",
    "--type=merge",
    "-p",
    JSON.stringify({ spec: configuration }),
  );
  let routes = "";
  await cluster.eventually(
    () => `the ToR has one next hop: ${routes}`,
    async () => {
      const words = ["birdc", "-r", "-s", "/run/bird/bird.ctl", "show", "route", "203.0.113.10/32"];
      routes = (await exec(words)).stdout;
      return [...new Set(routes.match(/via \S+/g))].join() === "via 172.20.0.12"; // of whoever tells it
    },
  );
  const tor = { name: "tor", namespacePath: namespacePath("tor"), addresses: ["172.20.0.2"] };
  const ask = () => cluster.askAt(tor, { name: "default/web", address: "203.0.113.10" });
  expect(await ask()).not.toBe("reached");
  const from = [{ podSelector: { matchLabels: { role: "client" } } }, { ipBlock: { cidr: "172.20.0.2/32" } }];
  await kubectl(
    "patch",
    "networkpolicy",
    "only-clients",
    "--type=merge",
    "-p",
    JSON.stringify({ spec: { ingress: [{ from }] } }),
  );
  await cluster.eventually("the ToR reaches web", async () => (await ask()) === "reached");
});

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
});

test("one of three members loses its data: removed, added, and begun as docs/guide/upgrade.md says", async () => {
  const begins = async () => {
    rmSync(join(nodeFolder("n3"), "claims/data-margay-etcd-2"), { recursive: true });
    await cluster.kubelet("n3").kill("margay-etcd-2", "etcd");
  };
  await begins();
  await cluster.eventually("its words say why it ends", () =>
    cluster.processes
      .status()
      .some(
        ({ name }) =>
          name.startsWith("n3/margay-etcd-2/etcd") &&
          cluster.processes.lastWords(name, 9).includes("already been bootstrapped"),
      ),
  );
  const does = (...words: string[]) =>
    etcdctl(0, ...endpoint(0), ...words).then(
      () => true,
      () => false,
    );
  await cluster.eventually("the two that are left have a leader", () => does("endpoint", "health", ...QUICK));
  const list = async () => (await etcdctl(0, ...endpoint(0), "member", "list")).split("\n");
  const lines = await list();
  const [id = ""] = lines.find((line) => line.includes("margay-etcd-2"))?.split(",") ?? [];
  await etcdctl(0, ...endpoint(0), "member", "remove", id);
  const peer = "https://margay-etcd-2.margay.internal:12380";
  await cluster.eventually("it is added", async () => {
    await does("member", "add", "margay-etcd-2", `--peer-urls=${peer}`);
    return (await list()).some((line) => line.includes(peer)); // also where the answer came too late
  });
  await upgrade(cluster, withEtcd({ initialClusterState: "existing" }), NODES.length);
  const pod = ["-n", NAMESPACE, "get", "pod", "margay-etcd-2", "--ignore-not-found"];
  const started = "jsonpath={.spec.containers[0].args} {.status.containerStatuses[0].restartCount}";
  await cluster.eventually("its pod is the upgrade's", async () =>
    /state=existing.* \d+$/.test(await kubectl(...pod, "-o", started)),
  );
  await begins(); // as what it was until now it has written data already
  await cluster.eventually("three are healthy", async () => (await healthy()) === 3, 60_000);
  for (const now of ["updatedReplicas", "readyReplicas"])
    await kubectl(
      "-n",
      NAMESPACE,
      "wait",
      "statefulset/margay-etcd",
      `--for=jsonpath={.status.${now}}=3`,
      LONG,
    );
});

test("a snapshot is made, the data is lost, the snapshot is restored as docs/guide/upgrade.md says", async () => {
  await kubectl("-n", NAMESPACE, "create", "job", "--from=cronjob/margay-etcd-snapshots-1", "by-hand");
  await kubectl("-n", NAMESPACE, "wait", "job/by-hand", "--for=condition=complete", LONG);
  const holder = "n2"; // the member's own node
  const [file = ""] = snapshots(holder);
  for (const node of NODES)
    if (node !== holder)
      cpSync(join(nodeFolder(holder), SNAPSHOTS, file), join(nodeFolder(node), SNAPSHOTS, file));
  const before = await endpoints();
  expect(before).toHaveLength(PODS.length + 1);
  expect(await refused(withEtcd({ restoreFrom: file }))).toContain(
    "scale statefulset/margay-etcd to 0 first",
  );
  await kubectl("-n", NAMESPACE, "scale", "statefulset/margay-etcd", "--replicas=0");
  await cluster.eventually(
    "no member is left",
    async () => !(await cluster.pods()).some(({ metadata }) => metadata.name.startsWith("margay-etcd-")),
    60_000,
  );
  for (const node of NODES) rmSync(join(nodeFolder(node), "claims"), { recursive: true, force: true });
  expect(
    await refused({ ...THREE, etcd: { bundled: { clusterIPs: [MEMBERS[0]], restoreFrom: file } } }),
  ).toBe("");
  await answers(true, "default/client", "10.96.7.7"); // nothing of it is needed to forward and to police
  await upgrade(cluster, withEtcd({ restoreFrom: file }), NODES.length);
  await cluster.eventually("three are healthy", async () => (await healthy()) === 3, 60_000);
  await kubectl(
    "-n",
    NAMESPACE,
    "rollout",
    "restart",
    "daemonset/margay-node",
    "deployment/margay-controllers",
  );
  await settled(cluster, NODES.length);
  expect(await endpoints()).toEqual(before);
  const alone = { ...THREE, etcd: { bundled: { clusterIPs: [MEMBERS[0]], restoreFrom: file } } };
  expect(await refused(alone)).toContain("would begin empty beside it"); // taken already, and by three
  for (const node of NODES) rmSync(join(nodeFolder(node), SNAPSHOTS, file)); // taken already: nobody needs it
  await kubectl("-n", NAMESPACE, "delete", "pod", "margay-etcd-1");
  await cluster.eventually("three are healthy again", async () => (await healthy()) === 3, 60_000);
  await createPods(cluster, [["default/after", "n3", { role: "client" }]]);
  await answers(true, "default/after", "10.96.7.7");
  expect(new Set((await endpoints()).map((line) => line.split(" ").at(-1))).size).toBe(before.length + 1);
});
