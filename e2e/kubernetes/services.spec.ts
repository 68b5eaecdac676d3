import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { exec } from "@margay/lab";
import { API_HOST, API_PORT } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { tor } from "./cluster/numbered.ts";
import { createPods, install } from "./cluster/release.ts";

/** Addresses of Services as the router above learns them by BGP, behind a real kube-proxy in both its modes. */
const NODES = ["n1", "n2", "n3"];
const HOPS = ["via 172.20.0.11", "via 172.20.0.12", "via 172.20.0.13"] as const;
const REFLECTOR = "margay.dev/route-reflector";
const EXTERNAL = "198.51.100.0/24";
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [
    { name: "default-ipv4", cidr: "10.244.0.0/16" },
    { name: "balancers", cidr: "203.0.113.0/24", allowedUses: ["LoadBalancer"] },
  ],
  bgpConfiguration: {
    nodeToNodeMeshEnabled: false,
    serviceClusterIPs: [{ cidr: "10.96.0.0/16" }],
    serviceExternalIPs: [{ cidr: EXTERNAL }],
    serviceLoadBalancerIPs: [{ cidr: "203.0.113.0/24" }],
    communities: [{ name: "anycast", value: "65001:7" }],
    prefixAdvertisements: [{ cidr: EXTERNAL, communities: ["anycast"] }],
  },
  bgpPeers: [
    { name: "tor", peerIP: "172.20.0.2", asNumber: 65000 },
    {
      ...{ name: "reflectors", nodeSelector: "all()", peerSelector: `has(${REFLECTOR})` },
      exportPolicy: {
        statements: [
          { match: { prefixes: [{ cidr: EXTERNAL, min: 32 }] }, set: { localPref: 200 }, action: "Accept" },
        ],
        otherwise: "Accept",
      },
    },
  ],
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length, { proxies: ["iptables", "nftables", "iptables"] });
  await cluster.must("kubectl", ["label", "node", "n1", `${REFLECTOR}=244.0.0.1`]);
  await install(cluster, VALUES, NODES.length);
});
afterAll(() => cluster?.stop());

const kubectl = (...words: string[]) => cluster.must("kubectl", words);
const apply = (name: string, spec: object) =>
  cluster.apply(
    JSON.stringify({ apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" }, spec }),
  );
/** A range or an address as the router above knows it. */
const known = async (prefix: string) =>
  (await exec(["birdc", "-r", "-s", "/run/bird/bird.ctl", "show", "route", prefix, "all"])).stdout;
/** Of whoever tells it. */
const nextHops = (text: string) => [...new Set(text.match(/via \S+/g))].sort();
/** The router has the prefix by these ways alone, each with those words. */
async function learns(prefix: string, hops: readonly string[], words = /./): Promise<void> {
  let said = "";
  await cluster.eventually(
    () => `${prefix} ${hops.join(", ")}: ${said}`,
    async () => {
      said = await known(prefix);
      const [, ...ways] = said.split("via ");
      return nextHops(said).join() === hops.join() && ways.every((way) => words.test(way));
    },
  );
}

interface Path {
  readonly prefix: string;
  readonly best: boolean;
  readonly localPref?: number;
}

test("what is announced of a Service has the range's communities and the peer's LOCAL_PREF; an excluded node announces none", async () => {
  await createPods(cluster, [["default/web", "n2", { app: "web" }]]);
  const local = { type: "NodePort", externalTrafficPolicy: "Local", externalIPs: ["198.51.100.7"] };
  await apply("web", { ...local, selector: { app: "web" }, ports: [{ port: 80 }] });
  const [address, marked] = ["198.51.100.7/32", /\(65001,7\)/];
  await learns(address, [HOPS[1]], marked);
  await learns(EXTERNAL, HOPS, marked);
  for (const node of ["n1", "n3"])
    await cluster.eventually(`${node} prefers it`, async () => {
      const words = ["margay", "bgp", "routes", address, "-o", "json"];
      const paths = JSON.parse(await cluster.execIn(`margay-node-${node}`, "bgpd", words)) as Path[];
      return paths.some(({ prefix, best, localPref }) => best && prefix === address && localPref === 200);
    });
  const asked = () => cluster.askAt(tor, { name: "default/web", address: "198.51.100.7" });
  await cluster.eventually("the router reaches it", async () => (await asked()) === "reached");
  const excluded = "node.kubernetes.io/exclude-from-external-load-balancers";
  await kubectl("label", "node", "n2", `${excluded}=`);
  await learns(address, []);
  await learns(EXTERNAL, [HOPS[0], HOPS[2]]);
  await kubectl("label", "node", "n2", `${excluded}-`);
  await learns(address, [HOPS[1]], marked);
  await kubectl("delete", "service", "web");
  await learns(address, []);
});

test("a load balancer's address: the node of an endpoint that ends is out before it stops answering, and nobody outside waits", async () => {
  const app = { name: "app", image: "app", lifecycle: { preStop: { sleep: { seconds: 20 } } } };
  const labels = { app: "balanced" };
  await createPods(cluster, [
    ["default/client", "n1", {}],
    ["default/second", "n2", labels, { containers: [app] }],
    ["default/third", "n3", labels, { containers: [app] }],
  ]);
  const ports = [
    { name: "tcp", port: 80 },
    { name: "udp", port: 80, protocol: "UDP" },
  ];
  const local = { type: "LoadBalancer", externalTrafficPolicy: "Local", selector: labels, ports };
  await apply("balanced", { ...local, clusterIP: "10.96.8.8" });
  let address = "";
  await cluster.eventually("it has an address of the pool", async () => {
    const path = "jsonpath={.status.loadBalancer.ingress[*].ip}";
    address = await kubectl("get", "service", "balanced", "-o", path);
    return address.startsWith("203.0.113.");
  });
  /** Which pod answers the router at a Service's address. */
  const answering = async (at: string, protocol: "tcp" | "udp" = "tcp") => {
    const answer = await cluster.askAt(tor, { name: "default/second", address: at, protocol });
    return { reached: "second", "wrong pod": "third" }[answer as string] ?? answer;
  };
  const isPod = (name: string) => name === "second" || name === "third";
  const both = HOPS.slice(1);
  for (const at of [address, "10.96.8.8"]) {
    await learns(`${at}/32`, both);
    await cluster.eventually(
      `the router is answered at ${at}`,
      async () => isPod(await answering(at)) && isPod(await answering(at, "udp")),
    );
  }
  const ending = await answering(address, "udp");
  const other = ending === "second" ? "third" : "second";
  const party = cluster.party(`default/${ending}`);
  const answers: string[] = [];
  let asking = true;
  const asked = (async () => {
    while (asking) answers.push(await answering(address, "udp")); // a TCP connection does not survive its way's change
  })();
  try {
    await kubectl("delete", "pod", ending, "--wait=false");
    await learns(`${address}/32`, [other === "third" ? HOPS[2] : HOPS[1]]);
    const itself = { name: party.name, address: party.addresses[0] ?? "" };
    expect(await cluster.askAt(cluster.party("default/client"), itself)).toBe("reached");
    await cluster.eventually("it has ended", async () =>
      (await cluster.pods()).every(({ metadata: { name } }) => name !== ending),
    );
  } finally {
    asking = false;
    await asked;
  }
  expect(answers.filter((answer) => !isPod(answer))).toEqual([]);
  expect(new Set(answers)).toEqual(new Set(["second", "third"]));
});
