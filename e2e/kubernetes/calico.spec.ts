import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { must, namespacePath } from "@margay/lab";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { calicoFolder, haveCalico } from "./calico-programs.mjs";
import { API_HOST, API_PORT } from "./cluster/api-server.ts";
import { calicoConflist, calicoObjects, startCalico, startFelix, stopFelix } from "./cluster/calico.ts";
import { Cluster } from "./cluster/cluster.ts";
import { commands, desk, follow } from "./cluster/guide.ts";
import { createPods, install, readyNodes, upgrade } from "./cluster/release.ts";

/** From a real Calico, as docs/guide/moving-from-calico.md says, and both at once on a node. */
const NODES = ["n1", "n2"] as const;
const ADDRESS = { n1: "172.20.0.11", n2: "172.20.0.12" } as const;
const CALICO = "192.168.0.0/16";
const ROUTER = "172.20.0.2";
const GUIDE = "moving-from-calico.md";
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [
    { name: "default-ipv4", cidr: "10.244.0.0/16", natOutgoing: true },
    { name: "default-ipv4-ippool", cidr: CALICO, natOutgoing: true, assignmentMode: "Manual" },
  ],
  felixConfiguration: {
    defaultEndpointToHostAction: "Accept",
    interfacePrefix: "mgy",
    nftablesMode: "Enabled",
  },
  bgpPeers: [{ name: "tor", peerIP: ROUTER, asNumber: 65000 }],
  controllers: { replicas: 1 },
  node: { agent: { healthPort: 9199 } },
};
const ONE_NODE = { ...VALUES, node: { ...VALUES.node, nodeSelector: { network: "margay" } } };

let cluster: Cluster;
const kubectl = (...words: string[]) => cluster.must("kubectl", words);
const onNode = (node: string, script: string) =>
  must(["nsenter", `--net=${namespacePath(node)}`, "--", "sh", "-c", script]);
const reaches = async (...pairs: (readonly [string, string])[]) => {
  for (const [from, to] of pairs) {
    await cluster.becomes(true, `default/${from}`, `default/${to}`);
    await cluster.becomes(true, `default/${to}`, `default/${from}`);
  }
};
const asks = async (from: string, to: string, expected: boolean) =>
  cluster.becomes(expected, `default/${from}`, `default/${to}`);
const addressOf = (pod: string) => cluster.party(`default/${pod}`).addresses[0] ?? "";

/** All that Calico has in the kernel of n1, and all that Margay has; of a set its name, for members are pods of both. */
const ofCalico = () =>
  onNode(
    "n1",
    "iptables-nft-save | grep 'cali[:-]'; iptables-legacy-save | grep 'cali[:-]'; ipset list -n | grep ^cali | sort; ip -o link | grep -o 'cali[^@]*' | sort; ip route | grep 'dev cali\\|proto 80' | sort",
  );
const ofMargay = () =>
  onNode(
    "n1",
    "nft list table ip margay | sed 's/packets [0-9]* bytes [0-9]*//'; ip -o link | grep -o 'mgy[^@]*' | sort; ip route | grep 'dev mgy\\|proto 14[23]' | sort",
  );

const policy = (name: string, spec: string) =>
  cluster.apply(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name} }
spec: ${spec}
`);

async function ended(...names: string[]): Promise<void> {
  await kubectl("delete", "pod", ...names, "--wait=false");
  await cluster.eventually(`${names} have ended`, async () => {
    const there = (await cluster.pods()).map(({ metadata }) => metadata.name);
    return !there.some((name) => names.includes(name));
  });
}

/** The pod anew, with the address that it had. */
async function anew(name: string, node: string, labels: object): Promise<void> {
  const address = addressOf(name);
  await ended(name);
  const annotations = { "cni.projectcalico.org/ipAddrs": JSON.stringify([address]) };
  const spec = { nodeName: node, containers: [{ name: "app", image: "app" }] };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "default", labels, annotations },
    spec,
  };
  await cluster.apply(JSON.stringify(pod));
  await cluster.eventually(
    () => `${name} runs`,
    () => cluster.kubelets.some(({ parties }) => parties.some((one) => one.name === `default/${name}`)),
  );
  expect(addressOf(name)).toBe(address);
}

(haveCalico() ? describe : describe.skip)("a real Calico", () => {
  beforeAll(async () => {
    cluster = await Cluster.start(NODES.length);
    await onNode("tor", "sysctl -qw net.ipv4.ip_forward=1");
    await kubectl("apply", "--server-side", "-f", join(calicoFolder(), "crds.yaml"));
    await kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=300s");
    await cluster.apply(calicoObjects(CALICO));
    for (const node of NODES) {
      await kubectl("annotate", "node", node, `projectcalico.org/IPv4Address=${ADDRESS[node]}/24`);
      await onNode(node, `ip route add default via ${ROUTER}`);
      startCalico(cluster, node);
    }
  });
  afterAll(() => cluster?.stop());

  test("before: Calico's pods reach each other, by policy", async () => {
    await cluster.eventually("both nodes are Ready", async () => (await readyNodes(cluster)) === 2);
    await createPods(cluster, [
      ["default/old1", "n1", { role: "friend" }],
      ["default/old2", "n2", {}],
      ["default/locked", "n1", { app: "locked" }],
    ]);
    expect(addressOf("old1")).toMatch(/^192\.168\./);
    await reaches(["old1", "old2"]);
    const from = "{ podSelector: { matchLabels: { role: friend } } }";
    await policy(
      "locked",
      `{ podSelector: { matchLabels: { app: locked } }, ingress: [{ from: [${from}] }] }`,
    );
    await asks("old2", "locked", false);
    await asks("old1", "locked", true);
  });

  test("what it is configured with is read from its API", async () => {
    desk(ONE_NODE);
    const report = await follow(
      cluster,
      'margay import calico --kubeconfig "$KUBECONFIG" -o yaml > margay.yaml',
    );
    expect(report).toContain("0 refused");
    expect(await follow(cluster, "cat margay.yaml")).toContain("name: default-ipv4-ippool");
    await follow(cluster, commands(GUIDE, "Both at once"));
  });

  test("Margay on n1 beside it: its pods, policies, rules, sets and routes stay as they are", async () => {
    const before = await ofCalico();
    expect(before).toMatch(/cali-FORWARD/);
    await kubectl("label", "node", "n1", "network=margay");
    await install(cluster, ONE_NODE, 1);
    await reaches(["old1", "old2"]);
    await asks("old2", "locked", false);
    await asks("old1", "locked", true);
    expect(await ofCalico()).toBe(before);
  });

  test("pods of both on one node: they reach each other, and the policies of both hold", async () => {
    rmSync(calicoConflist("n1"));
    await createPods(cluster, [
      ["default/new1", "n1", { app: "new" }],
      ["default/new2", "n1", { role: "friend" }],
    ]);
    expect(addressOf("new1")).toMatch(/^10\.244\./);
    await reaches(["new1", "new2"], ["new1", "old1"], ["new1", "old2"]);
    await asks("new1", "locked", false);
    await asks("new2", "locked", true); // felix knows all pods of the API by their labels
    const from = `{ ipBlock: { cidr: ${addressOf("old2")}/32 } }`; // not masqueraded on the way
    await policy("closed", `{ podSelector: { matchLabels: { app: new } }, ingress: [{ from: [${from}] }] }`);
    await asks("old1", "new1", false); // felix has accepted it
    await asks("old2", "new1", true);
  });

  test("either begins anew, and leaves what is the other's", async () => {
    const before = [await ofCalico(), await ofMargay()];
    await stopFelix(cluster, "n1");
    startFelix(cluster, "n1");
    const kubelet = cluster.kubelet("n1");
    await kubelet.kill("margay-node-n1", "agent");
    await cluster.eventually("the agent is started again", async () => {
      await kubelet.startAgain("margay-node-n1");
      return (await cluster.answer("n1", 9199, "readyz")).code === 0;
    });
    await cluster.eventually(
      "felix is ready",
      async () => (await cluster.answer("n1", 9099, "readiness")).code === 0,
    );
    expect([await ofCalico(), await ofMargay()]).toEqual(before);
    await asks("old1", "new1", false);
    await asks("new1", "locked", false);
    await reaches(["new2", "old1"], ["new2", "old2"]);
  });

  test("a pod that moves keeps its address", async () => {
    await anew("old1", "n1", { role: "friend" });
    await reaches(["old1", "old2"], ["old1", "new2"]);
    await asks("old1", "locked", true);
    await asks("old2", "locked", false);
  });

  test("n2 follows, Calico goes, and nothing of it is needed", async () => {
    await kubectl("label", "node", "n2", "network=margay");
    await upgrade(cluster, VALUES, 2);
    rmSync(calicoConflist("n2"));
    await anew("old2", "n2", {});
    await anew("locked", "n1", { app: "locked" });
    for (const node of NODES) await stopFelix(cluster, node);
    for (const node of NODES) await onNode(node, commands(GUIDE, "Without Calico"));
    await kubectl("delete", "-f", join(calicoFolder(), "crds.yaml"), "--ignore-not-found");
    for (const node of NODES)
      expect(
        await onNode(
          node,
          "(nft list ruleset; iptables-legacy-save; ipset list -n; ip route; ip link) | grep -i cali || true",
        ),
      ).toBe("");
    await reaches(["old1", "old2"], ["old1", "new2"], ["old2", "new2"]);
    await asks("old2", "locked", false);
    await asks("old1", "locked", true);
    await asks("old1", "new1", false);
    await asks("old2", "new1", true);
  });
});
