import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, exitOf, MARGAY, TestLab } from "./testing/lab.ts";

/** Beside the program, as the agent installs it. */
const RELAY = join(dirname(MARGAY), "margay-cni");

/** What only a whole cluster shows of CNI: real etcd, agents that stop, policy on what was attached by hand. */
let lab: TestLab;
beforeAll(async () => {
  lab = await TestLab.up("e2e-cni", ["--nodes", "2"]);
  await lab.must(["pod", "add", "shop/a", "--node", "n2", "-l", "app=a"]);
});
afterAll(() => lab?.down());

/** A command on n1, in its words when it fails. */
async function onNode(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec("n1", words);
  if (code !== 0) throw new Error(`${words.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout;
}
const veths = async () =>
  (await onNode("ip", "-br", "link")).split("\n").filter((line) => line.startsWith("cali"));
const inUse = async (): Promise<string> =>
  (await lab.margay(["ipam", "show", "--blocks"])).replace(/^.*n2.*$/gm, "").replace(/\s+/g, " ");

test("a pod ends while the agent is down: at once for the runtime, wholly when the agent is back", async () => {
  await lab.must(["pod", "add", "shop/first", "--node", "n1"]);
  const held = await inUse();
  await lab.must(["pod", "rm", "shop/first"]);
  await eventually("the first one's address is free", async () => (await inUse()) !== held); // a DEL may be done after its answer
  const before = await inUse();
  await lab.must(["pod", "add", "shop/gone", "--node", "n1"]);
  expect(await inUse()).not.toBe(before);
  await lab.must(["kill", "n1/agent"]);
  await lab.must(["pod", "rm", "shop/gone"]);
  await lab.must(["start", "n1/agent"]);
  await eventually(
    "its endpoint is gone",
    async () => !(await lab.margay(["get", "wep", "-A"])).includes("gone"),
  );
  await eventually("its address is free", async () => (await inUse()) === before);
  expect(await veths()).toEqual([]);
});

/** Nothing reaches this app. Kubernetes' own policies select Kubernetes' pods only. */
const closed = (app: string) => `apiVersion: margay.dev/v1
kind: NetworkPolicy
metadata: { name: ${app}, namespace: shop }
spec: { selector: app == "${app}", types: [Ingress] }
`;

test("a bare namespace attached by hand: an address, routes from other nodes, and policy by its labels", async () => {
  await onNode("ip", "netns", "add", "vm");
  const attach = async (netns: string) => {
    const words = ["--name", "vm", "-n", "shop", "-l", "app=vm"];
    return (await onNode("margay", "attach", netns, ...words)).split("\n")[0] ?? "";
  };
  const four = await attach("vm");
  expect(four).toMatch(/^10\.244\./);
  const container = lab.spawn("n1", ["ip", "netns", "exec", "vm", "sleep", "600"]); // as Docker's are: known by a process
  const pids = async () => (await onNode("ip", "netns", "pids", "vm")).trim();
  await eventually("its process is there", async () => (await pids()) !== "");
  expect([await attach("vm"), await attach(await pids())]).toEqual([four, four]);
  expect(await veths()).toHaveLength(1);
  const ended = exitOf(container);
  await onNode("kill", await pids());
  await ended;
  const reached = async () => (await lab.exec("shop/a", ["ping", "-c", "1", "-W", "1", four])).code === 0;
  await eventually("another node's pod reaches it", reached);
  await lab.apply(closed("vm"));
  expect(await reached()).toBe(false);
  await onNode("margay", "detach", "--name", "vm", "-n", "shop");
  await eventually("its interface is gone", async () => (await veths()).length === 0);
  await onNode("ip", "netns", "delete", "vm");
});

/** As docs/guide/ipam.md tells it; a namespace stands for the machine, and a veth for its tap. */
const MACHINE = `set -e
ip netns add machine && ip netns add guest
ip -n machine link add tap0 type veth peer name eth0 netns guest
address=$(margay attach machine --name machine -n shop -l app=machine | head -n 1)
mac=$(ip -n machine -br link show eth0 | awk '{print $3}')
ip -n machine address flush dev eth0
ip -n machine link set eth0 address 02:00:00:00:00:01
ip -n machine link add br0 up type bridge
for port in eth0 tap0; do ip -n machine link set $port master br0 up; done
ip -n guest link set eth0 address $mac up
ip -n guest address add $address dev eth0
ip -n guest route add 169.254.1.1 dev eth0
ip -n guest route add default via 169.254.1.1
echo $address`;

test("a virtual machine in a namespace attached by hand, behind a bridge: it has the address and the MAC, and its policy", async () => {
  const way = ["default", "via", "172.20.0.2"]; // with one, the kernel answers for the gateway
  await onNode("ip", "route", "add", ...way);
  const address = (await onNode("sh", "-c", MACHINE)).trim();
  const reached = async () => (await lab.exec("shop/a", ["ping", "-c", "1", "-W", "1", address])).code === 0;
  await eventually("another node's pod reaches it", reached);
  expect(await onNode("ip", "netns", "exec", "guest", "ping", "-c", "1", "-W", "5", "172.20.0.12")).toContain(
    "1 received",
  );
  await lab.apply(closed("machine"));
  expect(await reached()).toBe(false);
  await lab.delete(closed("machine"));
  await onNode("margay", "detach", "--name", "machine", "-n", "shop");
  await eventually("its interface is gone", async () => (await veths()).length === 0);
  for (const name of ["machine", "guest"]) await onNode("ip", "netns", "delete", name);
  await onNode("ip", "route", "delete", ...way);
});

const variables = (env: object): string[] =>
  Object.entries(env).map(([name, value]) => `CNI_${name}=${value}`);

interface Plugin {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
}

/** What a runtime's library does with a list on n1, for the container "web": DEL backwards, each told the result of the one before. */
async function chain(command: string, plugins: readonly Plugin[], prevResult?: object): Promise<object> {
  const mappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const filledIn: Readonly<Record<string, unknown>> = { mac: "02:00:00:00:00:77", portMappings: mappings };
  const env = {
    ...{ COMMAND: command, CONTAINERID: "web", NETNS: "/run/netns/web", IFNAME: "eth0" },
    ...{ PATH: "/usr/lib/cni", ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" },
  };
  let result = prevResult;
  for (const plugin of command === "DEL" ? plugins.toReversed() : plugins) {
    const wanted = Object.entries(filledIn).filter(([name]) => plugin.capabilities?.[name]);
    const conf = {
      ...plugin,
      cniVersion: "1.0.0",
      name: "margay",
      runtimeConfig: Object.fromEntries(wanted),
    };
    const path = plugin.type === "margay-cni" ? RELAY : `/usr/lib/cni/${plugin.type}`;
    const words = ["env", ...variables(env), path];
    const input = JSON.stringify({ ...conf, ...(result && { prevResult: result }) });
    const { code, stdout } = await lab.exec("n1", words, input);
    if (code !== 0) throw new Error(`${plugin.type} ${command}: exit ${code}\n${stdout}`);
    if (command === "ADD") result = JSON.parse(stdout) as object;
  }
  return result ?? {};
}

test("portmap and tuning after ours: the node's port is the pod's, under its policy, and the MAC is the one that all were told", async () => {
  const portmap = { type: "portmap", snat: true, capabilities: { portMappings: true } };
  const log = "net.ipv4.conf.eth0.log_martians";
  const tuning = { type: "tuning", sysctl: { [log]: "1" }, mtu: 1400, capabilities: { mac: true } };
  const cni = { labels: [{ key: "app", value: "web" }] };
  const ours = {
    type: "margay-cni",
    socket: "/run/margay/n1/cni.sock",
    capabilities: { mac: true },
    args: { cni },
  };
  const all = [ours, portmap, tuning];
  const inside = ["ip", "netns", "exec", "web"];
  const way = ["default", "via", "172.20.0.2"]; // with one, the kernel answers for the pod's gateway, which a set MAC makes the pod forget
  await onNode("ip", "route", "add", ...way);
  await onNode("ip", "netns", "add", "web");
  const result = await chain("ADD", all);
  const answer = `require("net").createServer((socket) => socket.end("web")).listen(80)`;
  const server = lab.spawn("n1", [...inside, process.execPath, "-e", answer]);
  const ended = exitOf(server);
  const reached = async (from: string) => {
    const connect = "exec 3<>/dev/tcp/172.20.0.11/8080 && cat <&3";
    return (await lab.exec(from, ["timeout", "2", "bash", "-c", connect])).stdout === "web";
  };
  await eventually("the ToR reaches the pod by the node's port", () => reached("tor"));
  await eventually("so does another node's pod", () => reached("shop/a"));
  expect(await onNode(...inside, "ip", "link", "show", "eth0")).toMatch(/mtu 1400 .*02:00:00:00:00:77/s);
  expect(await onNode(...inside, "sysctl", "-n", log)).toBe("1\n");
  await chain("CHECK", [ours, tuning], result); // not portmap 1.1.1: it looks for IPv4 rules in IPv6
  await lab.apply(closed("web"));
  expect(await reached("tor")).toBe(false);
  await lab.must(["kill", "n1/agent"]);
  await lab.must(["start", "n1/agent"]);
  await lab.delete(closed("web"));
  await eventually("the ToR reaches it again, with rules that the agent found", () => reached("tor"));
  await chain("DEL", all, result);
  expect(await reached("tor")).toBe(false);
  expect(await onNode("iptables-save", "-t", "nat")).not.toContain("8080");
  await eventually("nothing is left", async () => (await veths()).length === 0);
  await onNode("sh", "-c", "kill $(ip netns pids web)");
  await ended;
  await onNode("ip", "netns", "delete", "web");
  await onNode("ip", "route", "delete", ...way);
});

const torRoutes = async () => (await lab.exec("tor", ["ip", "route"])).stdout;

test("a floating address: announced, answered and the source outside; gone with its pod", async () => {
  await lab.apply(`apiVersion: margay.dev/v1
kind: FelixConfiguration
metadata: { name: default }
spec: { floatingIPs: Enabled }
---
apiVersion: margay.dev/v1
kind: IPPool
metadata: { name: floating }
spec: { cidr: 10.99.0.0/24, assignmentMode: Manual }
`);
  const asking = ["--annotation", 'cni.projectcalico.org/floatingIPs=["10.99.0.7"]'];
  await lab.must(["pod", "add", "shop/first", "--node", "n1", ...asking]);
  await eventually("the ToR has it", async () => (await torRoutes()).includes("10.99.0.7 via 172.20.0.11"));
  const ping = ["ping", "-c", "1", "-W", "1", "10.99.0.7"];
  for (const from of ["tor", "shop/a", "shop/first"]) expect((await lab.exec(from, ping)).code).toBe(0);
  await lab.must(["pod", "add", "shop/second", "--node", "n2", ...asking]);
  await lab.wait();
  expect(await torRoutes()).toContain("10.99.0.7 via 172.20.0.11");
  await lab.must(["pod", "rm", "shop/first"]);
  await eventually("it is the other's, who asked later", async () =>
    (await torRoutes()).includes("10.99.0.7 via 172.20.0.12"),
  );
  expect((await lab.exec("tor", ping)).code).toBe(0);
  await lab.must(["pod", "rm", "shop/second"]);
  await eventually("it is nobody's", async () => !(await torRoutes()).includes("10.99.0.7"));
});

test("the range that Kubernetes gave a node is announced whole while a pod has an address from it", async () => {
  const node = JSON.parse(await lab.margay(["get", "node", "n1", "-o", "json"])) as object;
  const range = "10.98.1.0/24";
  await lab.apply(JSON.stringify({ ...node, status: { podCIDRs: [range] } }));
  const pod = `apiVersion: margay.dev/v1
kind: IPPool
metadata: { name: hosts-own }
spec: { cidr: 10.98.0.0/16, assignmentMode: Manual }
---
apiVersion: margay.dev/v1
kind: WorkloadEndpoint
metadata: { name: n1-k8s-x-eth0, namespace: shop }
spec: { orchestrator: k8s, node: n1, pod: x, endpoint: eth0, interfaceName: calix, ipNetworks: [10.98.1.5/32] }
`;
  await lab.margay(["apply", "-f", "-"], pod); // as CNI with host-local writes it; there is no interface to wait for
  await eventually("the ToR has the range", async () =>
    (await torRoutes()).includes(`${range} via 172.20.0.11`),
  );
  expect(await torRoutes()).not.toContain("10.98.1.5");
  expect(await onNode("ip", "route", "show", "type", "blackhole")).toContain(range);
  await lab.margay(["delete", "-f", "-"], pod);
  await eventually("it is gone", async () => !(await torRoutes()).includes(range));
});

test("addresses from host-local out of that range, the agent in a container as the chart makes it", async () => {
  const D = "/run/runtime"; // the runtime's folders; inside, only what the chart mounts, under its names
  await onNode("mkdir", "-p", ...["bin", "net.d", "records", "inside"].map((name) => `${D}/${name}`));
  await onNode("cp", "/usr/lib/cni/host-local", `${D}/bin`);
  await onNode("ip", "netns", "add", "hl");
  const pool = { apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name: "hosts-own" } };
  await lab.apply(JSON.stringify({ ...pool, spec: { cidr: "10.98.0.0/16", disabled: true } }));
  await lab.must(["kill", "n1/agent"]);
  const mounts = [
    `mount --bind ${D}/bin ${D}/inside && mount -t tmpfs none ${D}/bin`,
    `mount -t tmpfs none /var/lib && mkdir /var/lib/cni && mount --bind ${D}/records /var/lib/cni`,
  ].join(" && ");
  const agent = `exec margay agent --cni-bin-dir ${D}/inside --cni-conf-dir ${D}/net.d --cni-ipam '{"type":"host-local","subnet":"usePodCidr"}'`;
  const contained = lab.spawn("n1", [
    "unshare",
    "-m",
    "sh",
    "-c",
    `${mounts} && echo $$ > ${D}/pid && CNI_PATH=${D}/inside ${agent}`,
  ]);
  const conflist = async () => (await lab.exec("n1", ["cat", `${D}/net.d/10-margay.conflist`])).stdout;
  await eventually("the configuration is installed", async () => (await conflist()) !== "");
  const { plugins, name } = JSON.parse(await conflist()) as { plugins: object[]; name: string };
  const cni = (command: string) => {
    const env = {
      ...{ COMMAND: command, CONTAINERID: "hl", NETNS: "/run/netns/hl", IFNAME: "eth0", PATH: `${D}/bin` },
      ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=hl",
    };
    const conf = JSON.stringify({ ...plugins[0], name, cniVersion: "1.0.0" });
    return lab.exec("n1", ["env", ...variables(env), `${D}/bin/margay-cni`], conf);
  };
  const { ips } = JSON.parse((await cni("ADD")).stdout) as { ips: { address: string }[] };
  expect(ips.map(({ address }) => address)).toEqual(["10.98.1.2/32"]);
  const records = async () => (await onNode("ls", `${D}/records/networks/margay`)).split("\n");
  expect(await records()).toContain("10.98.1.2");
  await eventually("another node's pod reaches it", async () => {
    return (await lab.exec("shop/a", ["ping", "-c", "1", "-W", "1", "10.98.1.2"])).code === 0;
  });
  expect(await lab.margay(["ipam", "why", "10.98.1.2"])).toMatch(
    /in use, and not held in Margay's IPAM\nendpoint: +shop\/n1-k8s-hl-eth0/,
  );
  expect(await cni("DEL")).toMatchObject({ code: 0, stdout: "" });
  await eventually("the record is gone", async () => !(await records()).includes("10.98.1.2"));
  const ended = exitOf(contained);
  await onNode("sh", "-c", `kill $(cat ${D}/pid)`);
  await ended;
  await onNode("ip", "netns", "delete", "hl");
  await lab.margay(["delete", "ippool", "hosts-own"]);
  await lab.must(["start", "n1/agent"]);
});

test("a service's address leads to the node of its endpoint, and no more while that is ending and still answers", async () => {
  const address = "203.0.113.9";
  const { spec, ...rest } = JSON.parse(
    await lab.margay(["get", "bgpconfiguration", "default", "-o", "json"]),
  ) as { spec: object };
  const serviceLoadBalancerIPs = [{ cidr: "203.0.113.0/24" }];
  const ranges = JSON.stringify({ ...rest, spec: { ...spec, serviceLoadBalancerIPs } });
  const endpoint = (terminating: boolean) => `apiVersion: margay.dev/v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { loadBalancerIPs: [${address}], externalTrafficPolicy: Local }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
endpoints: [{ addresses: [10.244.0.9], nodeName: n1, conditions: { ready: true, serving: true, terminating: ${terminating} } }]
`;
  await onNode("ip", "address", "add", `${address}/32`, "dev", "lo"); // in place of kube-proxy and the pod
  const answers = async (from: string) =>
    (await lab.exec(from, ["ping", "-c", "1", "-W", "1", address])).code === 0;
  const own = `${address} via 172.20.0.11`;
  await lab.margay(["apply", "-f", "-"], `${ranges}\n---\n${endpoint(false)}`);
  await eventually("the ToR has the address", async () => (await torRoutes()).includes(own));
  expect(await answers("tor")).toBe(true);
  await lab.margay(["apply", "-f", "-"], endpoint(true));
  await eventually("the ToR has it no more", async () => !(await torRoutes()).includes(own));
  expect(await answers("n1")).toBe(true); // nothing has ended yet
  expect(await torRoutes()).toMatch(
    /203\.0\.113\.0\/24 .*nexthop via 172\.20\.0\.11.*nexthop via 172\.20\.0\.12/s,
  );
  await lab.margay(["delete", "-f", "-"], endpoint(true));
  await onNode("ip", "address", "delete", `${address}/32`, "dev", "lo");
});
