import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { controlGet } from "@margay/daemon";
import { etcdStore } from "@margay/datastore";
import { ENDPOINT, exec, until } from "@margay/lab";
import { now, unstarvedMs } from "../testing/unstarved.ts";
import { adminCrd, adminKinds, apiVersion } from "./admin-policies.ts";
import { API_HOST, API_PORT } from "./cluster/api-server.ts";
import { Cluster } from "./cluster/cluster.ts";
import { Numbered, tor } from "./cluster/numbered.ts";
import { createPods, install, NAMESPACE } from "./cluster/release.ts";
import { nodeFolder } from "./cluster/runtime.ts";
import { Sandbox } from "./cluster/sandbox.ts";
import { type KindRow, kinds } from "./kinds.ts";

/** What Kubernetes' objects do in a cluster, and which rights that takes. */
const NODES = ["n1", "n2", "n3"];
const VALUES = {
  etcd: { mode: "external", external: { endpoints: ["http://172.20.0.1:2379"] } },
  kubernetesAPI: { host: API_HOST, port: API_PORT },
  pools: [
    { name: "default-ipv4", cidr: "10.244.0.0/16" },
    { name: "default-ipv6", cidr: "fd00:10:244::/56" },
  ],
  bgpPeers: [{ name: "tor", peerIP: "172.20.0.2", asNumber: 65000 }],
  controllers: { leakGracePeriodSeconds: 15 },
};
const PODS = [
  ["default/web", "n1", { app: "web" }],
  ["default/client", "n2", { role: "client" }],
  ["default/third", "n3", {}],
] as const;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start(NODES.length);
  await install(cluster, VALUES, NODES.length);
  for (const row of adminKinds) await cluster.apply(adminCrd(row)); // looked for every 20 s by controllers that run
  await createPods(cluster, PODS);
});
afterAll(() => cluster?.stop());

const kubectl = (...words: string[]) => cluster.must("kubectl", words);
const refusal = async (yaml: string): Promise<string> => {
  const { code, stderr } = await cluster.run("kubectl", ["apply", "-f", "-"], { input: yaml });
  return code === 0 ? "" : stderr;
};

/** Names of the Established peers of a node's bgpd. */
async function established(node: string): Promise<string[]> {
  const folder = join(nodeFolder(node), "run/margay");
  const peers = (await controlGet(folder, "bgpd", "/peers").catch(() => [])) as {
    name: string;
    state: string;
  }[];
  return peers.flatMap(({ name, state }) => (state === "Established" ? [name] : [])).sort();
}
const peersAre = async (node: string, expected: readonly RegExp[]) => {
  let names: string[] = [];
  await cluster.eventually(
    () => `${node} has the peers ${expected.join()}: ${names.join()}`,
    async () => {
      names = await established(node);
      return (
        names.length === expected.length && expected.every((one) => names.some((name) => one.test(name)))
      );
    },
  );
};

test("every node has its sessions: with the others, and with the router above, which says so too", async () => {
  for (const node of NODES)
    await peersAre(node, [/tor/, ...NODES.filter((other) => other !== node).map((other) => RegExp(other))]);
  const { stdout } = await exec(["birdc", "-r", "-s", "/run/bird/bird.ctl", "show", "protocols"]);
  for (const node of NODES) expect(stdout).toMatch(RegExp(`^${node} .*Established`, "m"));
});

test("a label and a BGPPeer make a node a reflector: with the mesh off its clients reach each other", async () => {
  await kubectl("label", "node", "n1", "margay.dev/route-reflector=244.0.0.1");
  const spec = { nodeSelector: "all()", peerSelector: "has(margay.dev/route-reflector)" };
  const peer = { apiVersion: "margay.dev/v1", kind: "BGPPeer", metadata: { name: "reflectors" }, spec };
  await cluster.apply(JSON.stringify(peer));
  const patch = JSON.stringify({ spec: { nodeToNodeMeshEnabled: false } });
  await kubectl("patch", "bgpconfiguration", "default", "--type=merge", "-p", patch);
  await peersAre("n2", [/n1|reflectors/, /tor/]);
  await peersAre("n3", [/n1|reflectors/, /tor/]);
  await cluster.becomes(true, "default/client", "default/third");
});

test("a node's rack is its Node's: blocks are given by it", async () => {
  await kubectl("label", "node", "n2", "topology.kubernetes.io/rack=r7");
  await cluster.eventually("its Node has the label", async () =>
    /topology\.kubernetes\.io\/rack: r7/.test(await cluster.margay(["get", "nodes", "n2", "-o", "yaml"])),
  );
});

test("a pod's label is its endpoint's within a second", async () => {
  const store = etcdStore({ endpoints: [ENDPOINT] });
  const times: number[] = [];
  const unstarved: number[] = [];
  for (let turn = 0; turn < 20; turn++) {
    const since = now();
    const body = { metadata: { labels: { turn: `${turn}` } } };
    await cluster.admin.call({ method: "PATCH", path: "/api/v1/namespaces/default/pods/web", body });
    const arrived = async () => {
      const { entries } = await store.list("/margay/v1/workloadendpoints/default/");
      return entries.some(({ value }) => value.includes(`"turn":"${turn}"`)) || undefined;
    };
    await until(arrived, { timeoutMs: 60_000, everyMs: 5, what: `label turn=${turn} has not arrived` });
    times.push(Math.round(now().wallMs - since.wallMs));
    unstarved.push(unstarvedMs(since, now()));
  }
  await store.close();
  process.stdout.write(`a label is its endpoint's after ${times.sort((a, b) => a - b).join(", ")} ms\n`);
  expect(Math.max(...unstarved)).toBeLessThan(1000);
});

test("service accounts by a selector: who may connect changes with a label of the account", async () => {
  await kubectl("create", "serviceaccount", "clerk");
  await createPods(cluster, [["default/clerk", "n3", {}, { serviceAccountName: "clerk" }]]);
  const source = { serviceAccounts: { selector: "tier == 'trusted'" } };
  const policy = { apiVersion: "margay.dev/v1", kind: "NetworkPolicy", metadata: { name: "accounts" } };
  const spec = { selector: "app == 'web'", ingress: [{ action: "Allow", source }] };
  await cluster.apply(JSON.stringify({ ...policy, spec }));
  await cluster.becomes(false, "default/clerk", "default/web");
  await kubectl("label", "serviceaccount", "clerk", "tier=trusted");
  await cluster.becomes(true, "default/clerk", "default/web");
  await cluster.becomes(false, "default/client", "default/web");
  await kubectl("label", "serviceaccount", "clerk", "tier-");
  await cluster.becomes(false, "default/clerk", "default/web");
  await kubectl("delete", "networkpolicy.margay.dev", "accounts");
  await cluster.becomes(true, "default/client", "default/web");
});

const body = ({ kind, namespaced }: KindRow, name: string, spec: object) =>
  JSON.stringify({
    ...{ apiVersion: "margay.dev/v1", kind, spec },
    metadata: { name, ...(namespaced && { namespace: "default" }) },
  });
const nameOf = ({ name = "valid" }: KindRow): string => name;
const refusedName = ({ refusedName: name = "refused" }: KindRow): string => name;
/** "True Valid ..." as the status has it. */
const condition = ({ kind }: KindRow, name: string) =>
  kubectl(
    "get",
    `${kind}.margay.dev`,
    name,
    "-o",
    "jsonpath={.status.conditions[0].status} {.status.conditions[0].message}",
  );

describe("an object of every kind", () => {
  test.each(kinds.map((row) => [row.kind, row] as const))("%s", async (_kind, row) => {
    await cluster.apply(body(row, nameOf(row), row.valid));
    await cluster.apply(body(row, refusedName(row), row.refused));
    let said = "";
    const tells = (name: string, what: RegExp) =>
      cluster.eventually(
        () => `${name}: ${said}`,
        async () => {
          said = await condition(row, name);
          return what.test(said);
        },
      );
    await tells(nameOf(row), /^True in the datastore/);
    await tells(refusedName(row), /^False /);
    expect(said).toMatch(row.why);
    expect(await refusal(body(row, "impossible", row.impossible))).toMatch(/invalid|unknown|validat|decod/i);
    expect(await kubectl("get", `${row.short}.margay.dev`)).toMatch(row.shown);
    const events = () =>
      kubectl(
        "get",
        "events",
        "-o",
        "jsonpath={range .items[*]}{.involvedObject.kind}/{.involvedObject.name} {.message}\n{end}",
      );
    await cluster.eventually(`an Event of ${row.kind}`, async () => {
      const lines = (await events())
        .split("\n")
        .filter((line) => line.startsWith(`${row.kind}/${refusedName(row)} `));
      return lines.some((line) => row.why.test(line));
    });
    if (row.kind === "IPPool") return; // the next test's
    await kubectl("delete", `${row.kind}.margay.dev`, nameOf(row), refusedName(row));
  });
});

test.each(adminKinds.map((row) => [row.kind, row] as const))(
  "%s, which came after the controllers: enforced, and no more when it goes",
  async (kind, row) => {
    await cluster.becomes(true, "default/client", "default/web");
    await kubectl("label", "namespace", "default", "guarded=yes", "--overwrite");
    const policy = { apiVersion: apiVersion(row), kind, metadata: { name: "default" }, spec: row.spec };
    await cluster.apply(JSON.stringify(policy));
    await cluster.becomes(false, "default/client", "default/web");
    await kubectl("delete", kind, "default");
    await cluster.becomes(true, "default/client", "default/web");
  },
);

test("a ClusterNetworkPolicy that cannot be enforced as written closes what it selects, and an Event says why", async () => {
  const [row] = adminKinds;
  if (!row) throw new Error("no kind");
  await kubectl("label", "namespace", "default", "guarded=yes", "--overwrite");
  const spec = { ...row.spec, ingress: [{ action: "Perhaps", from: [{ namespaces: {} }] }] };
  const policy = { apiVersion: apiVersion(row), kind: row.kind, metadata: { name: "faulty" }, spec };
  await cluster.apply(JSON.stringify(policy));
  await cluster.becomes(false, "default/client", "default/web");
  const told = ["get", "events", "-A", "--field-selector", "involvedObject.name=faulty", "-o"];
  await cluster.eventually("an Event", async () =>
    /action/.test(await kubectl(...told, "jsonpath={.items[*].message}")),
  );
  await kubectl("delete", row.kind, "faulty");
  await cluster.becomes(true, "default/client", "default/web");
});

test("a pool's range cannot be changed: the API server says it", async () => {
  const patch = [
    "patch",
    "ippool.margay.dev",
    "valid",
    "--type=merge",
    "-p",
    '{"spec":{"cidr":"192.0.2.0/24"}}',
  ];
  expect((await cluster.run("kubectl", patch)).stderr).toMatch(/cidr/);
});

test("Services of type LoadBalancer: from the pool, by name, one address for two; another class is left alone", async () => {
  const service = (
    name: string,
    { port = 80, annotations = {}, loadBalancerClass = undefined as string | undefined },
  ) => ({
    ...{ apiVersion: "v1", kind: "Service", metadata: { name, annotations } },
    spec: { type: "LoadBalancer", loadBalancerClass, selector: { app: "web" }, ports: [{ port }] },
  });
  const named = { "margay.dev/load-balancer-ips": '["203.0.113.77"]', "margay.dev/shared-ip": "one" };
  const all = [
    service("other", { loadBalancerClass: "example.com/other" }),
    service("named", { annotations: named }),
    service("beside", { annotations: named, port: 81 }),
    service("balanced", {}),
  ];
  for (const one of all) await cluster.apply(JSON.stringify(one));
  const addressOf = (name: string) =>
    kubectl("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}");
  let given: string[] = [];
  await cluster.eventually(
    () => `addresses are in the statuses: ${given.join()}`,
    async () => {
      given = await Promise.all(["named", "beside", "balanced"].map(addressOf));
      const [first, second, third = ""] = given;
      return first === "203.0.113.77" && second === first && /^203\.0\.113\.(?!77$)/.test(third);
    },
  );
  expect(await addressOf("other")).toBe("");
  await kubectl("delete", "service", ...all.map(({ metadata }) => metadata.name));
});

test("a pod that its agent has not heard of is asked for; what it held is freed by its UID, another of its name stays", async () => {
  await createPods(cluster, [["default/twin", "n1", {}]]);
  const metadata = { name: "twin", namespace: "default", uid: "00000000-0000-4000-8000-000000000000" };
  const old = { metadata: { ...metadata, name: "gone" }, spec: { nodeName: "n2", containers: [] } };
  (await Sandbox.open(old)).abandon();
  expect(cluster.audit(`system:serviceaccount:${NAMESPACE}:margay-node`).used).toContain("get /pods");
  const held = async () =>
    (await cluster.margay(["get", "workloadendpoints", "-A", "-o", "name"])).split("\n");
  const has = async (name: string) => (await held()).some((line) => line.includes(name));
  expect(await has("gone")).toBe(true);
  await cluster.eventually("it is freed", async () => !(await has("gone")), 60_000);
  expect(await has("twin")).toBe(true);
  await cluster.becomes(true, "default/client", "default/twin");
});

test.each([
  ["bgpd", "agent"],
  ["agent", "bgpd"],
])("%s is killed: %s goes on as the process it was, and no packet is lost", async (killed, other) => {
  const kubelet = cluster.kubelet("n1");
  const process = kubelet.processOf("margay-node-n1", other);
  const [web, client] = [cluster.party("default/web"), cluster.party("default/client")];
  const streams = await Promise.all([
    Numbered.start(client, web, 4),
    Numbered.start(web, client, 6),
    Numbered.start(tor, client, 4),
  ]);
  const former = kubelet.processOf("margay-node-n1", killed);
  await kubelet.kill("margay-node-n1", killed);
  await cluster.eventually(
    `${killed} is started again`,
    () => kubelet.processOf("margay-node-n1", killed) !== former,
  );
  await peersAre("n1", [/n2|reflectors/, /n3|reflectors/, /tor/]);
  await createPods(cluster, [[`default/after-${killed}`, "n1", {}]]);
  for (const stream of streams) expect((await stream.stop()).lost).toEqual([]);
  expect(kubelet.processOf("margay-node-n1", other)).toBe(process);
});

test("an agent that hangs is started again by the chart's probes, a bgpd that is slow is not; no packet is lost", async () => {
  const [one, other] = [cluster.kubelet("n1"), cluster.kubelet("n2")];
  await cluster.eventually("it has started", () => one.isReady("margay-node-n1", "agent")); // a startup probe is patient
  const hung = one.processOf("margay-node-n1", "agent");
  const slow = other.processOf("margay-node-n2", "bgpd");
  const [web, client] = [cluster.party("default/web"), cluster.party("default/client")];
  const streams = await Promise.all([Numbered.start(client, web, 4), Numbered.start(tor, client, 6)]);
  await one.freeze("margay-node-n1", "agent");
  const isAnother = () => ![hung, undefined].includes(one.processOf("margay-node-n1", "agent"));
  for (const end = performance.now() + 600_000; !isAnother() && performance.now() < end; ) {
    await other.freeze("margay-node-n2", "bgpd"); // each answer takes up to three seconds
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await other.thaw("margay-node-n2", "bgpd");
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  expect(isAnother()).toBe(true);
  expect(other.processOf("margay-node-n2", "bgpd")).toBe(slow);
  for (const stream of streams) expect((await stream.stop()).lost).toEqual([]);
  await createPods(cluster, [["default/after-the-hang", "n1", {}]]);
  await cluster.becomes(true, "default/client", "default/after-the-hang");
});

interface Role {
  readonly metadata: { readonly name: string };
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
}
/** "list /pods", as the audit log has it: what the roles of a component grant. */
async function granted(component: string): Promise<string[]> {
  const text = await kubectl("-n", NAMESPACE, "get", "clusterroles,roles", "-o", "json");
  const roles = (JSON.parse(text) as { items: Role[] }).items.filter(
    ({ metadata }) => metadata.name === component,
  );
  const rules = roles.flatMap((role) => role.rules);
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((what) => verbs.map((verb) => `${verb} ${group}/${what}`)),
    ),
  );
}

test("a node is deleted: asked for once more, then nothing of it is left", async () => {
  await kubectl("delete", "node", "n3", "--wait=false");
  await cluster.eventually(
    "no Node n3",
    async () => !/\bn3\b/.test(await cluster.margay(["get", "nodes", "-o", "name"])),
    60_000,
  );
});

test.each(["margay-controllers", "margay-node"])(
  "RBAC of %s: nothing was refused, and every right was used",
  async (account) => {
    const { used, refused } = cluster.audit(`system:serviceaccount:${NAMESPACE}:${account}`);
    expect([...refused]).toEqual([]);
    const rights = await granted(account);
    expect(rights.length).toBeGreaterThan(2);
    expect(rights.filter((right) => !used.has(right))).toEqual([]);
  },
);
