import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { type Loader, loader } from "./loader.ts";
import { withoutDad } from "./pods.ts";
import type { Probed } from "./prober.ts";
import { startProber } from "./start-prober.ts";

/**
 * Run under `unshare -Urnm`: this namespace is a node that routes between `far` (eth0) and `behind` (eth1). Loads host
 * endpoints and policies, sends real packets, and prints by scenario what got through, as JSON. Argument: the backend.
 */
/** 53 and 68 are failsafe ports of UDP, out and in. */
const PORTS = [22, 53, 68, 80, 81, 6443];
const NODE = "10.0.0.1";
const NODE6 = "fd00:0::1";
const [FAR, BEHIND] = ["10.0.0.2", "10.0.1.2"];
const FAR6 = "fd00:0::2";
const run = (text: string): string => execFileSync("sh", ["-c", text], { encoding: "utf8" });

/** `subnet`: 10.0.<subnet>.0/24 and fd00:<subnet>::/64, in which the node is 1 and the other 2. */
function wire(name: string, device: string, subnet: number): void {
  const [four, six] = [`10.0.${subnet}`, `fd00:${subnet}::`];
  run(`ip netns add ${name}`);
  for (const namespace of [undefined, name]) withoutDad(namespace);
  run(`ip link add ${device} type veth peer name eth0 netns ${name}`);
  run(`ip addr add ${four}.1/24 dev ${device}; ip addr add ${six}1/64 dev ${device} nodad`);
  run(`ip link set ${device} up`);
  run(`ip -n ${name} addr add ${four}.2/24 dev eth0; ip -n ${name} addr add ${six}2/64 dev eth0 nodad`);
  run(`ip -n ${name} link set eth0 up; ip -n ${name} link set lo up`);
  run(`ip -n ${name} route add default via ${four}.1`);
}

const resource = (kind: string, name: string, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, labels: { role: "host" } }, spec }).resource;

const eth0 = resource("HostEndpoint", "h", { node: "n1", interfaceName: "eth0" });
const byAddress = resource("HostEndpoint", "h", { node: "n1", expectedIPs: ["203.0.113.1", NODE] });
const all = resource("HostEndpoint", "h", {
  node: "n1",
  interfaceName: "*",
  profiles: ["projectcalico-default-allow"],
});
const gnp = (name: string, spec: object) =>
  resource("GlobalNetworkPolicy", name, { selector: "role == 'host'", ...spec });
const tcp = (action: string, ...ports: number[]) => ({ action, protocol: "TCP", destination: { ports } });
const udp = (action: string, ...ports: number[]) => ({ ...tcp(action, ...ports), protocol: "UDP" });
const answers = (...ports: number[]) => ({ action: "Allow", protocol: "TCP", source: { ports } });

const vxlan = resource("IPPool", "p", { cidr: "10.244.0.0/16", vxlanMode: "Always" });
const vxlanPort = resource("FelixConfiguration", "default", { vxlanPort: 81 });

const SCENARIOS: Readonly<Record<string, readonly AnyResource[]>> = {
  "no host endpoint": [],
  "no policy: failsafe ports alone": [eth0],
  "no policy: failsafe ports alone, found by an address": [byAddress],
  "no policy, default allow": [all],
  "ingress by port": [eth0, gnp("p", { types: ["Ingress"], ingress: [tcp("Allow", 80)] })],
  "ingress by protocol and family": [
    eth0,
    gnp("p", {
      types: ["Ingress"],
      ingress: [
        { action: "Allow", protocol: "UDP", destination: { ports: [80] } },
        { action: "Allow", protocol: "TCP", ipVersion: 6, destination: { ports: [81] } },
      ],
    }),
  ],
  "on forward": [
    all,
    gnp("p", { types: ["Ingress"], applyOnForward: true, ingress: [tcp("Deny", 80), { action: "Allow" }] }),
  ],
  "not tracked": [
    eth0,
    gnp("p", {
      ...{ doNotTrack: true, applyOnForward: true, types: ["Ingress", "Egress"] },
      ...{ ingress: [tcp("Allow", 81)], egress: [answers(81)] },
    }),
  ],
  "not tracked, and no rule for answers": [
    eth0,
    gnp("p", {
      ...{ doNotTrack: true, applyOnForward: true, types: ["Ingress", "Egress"] },
      ...{ ingress: [tcp("Allow", 81)], egress: [] },
    }),
  ],
  "not tracked, UDP": [
    eth0,
    gnp("p", {
      ...{ doNotTrack: true, applyOnForward: true, types: ["Ingress", "Egress"] },
      ...{ ingress: [udp("Allow", 81)], egress: [{ ...answers(81), protocol: "UDP" }] },
    }),
  ],
  "not tracked, UDP, and no rule for answers": [
    eth0,
    gnp("p", {
      ...{ doNotTrack: true, applyOnForward: true, types: ["Ingress", "Egress"] },
      ...{ ingress: [udp("Allow", 81)], egress: [] },
    }),
  ],
  "not tracked, UDP denied": [
    all,
    gnp("p", {
      doNotTrack: true,
      applyOnForward: true,
      types: ["Ingress"],
      ingress: [udp("Deny", 53, 68, 80)],
    }),
  ],
  "no failsafe ports": [
    eth0,
    resource("FelixConfiguration", "default", {
      failsafeInboundHostPorts: [],
      failsafeOutboundHostPorts: [],
    }),
  ],
  "before destination NAT": [
    all,
    gnp("p", { preDNAT: true, applyOnForward: true, types: ["Ingress"], ingress: [tcp("Deny", 8080)] }),
  ],
  "before destination NAT, UDP": [
    all,
    gnp("p", { preDNAT: true, applyOnForward: true, types: ["Ingress"], ingress: [udp("Deny", 68, 8080)] }),
  ],
  "before destination NAT, all denied": [
    all,
    gnp("p", { preDNAT: true, applyOnForward: true, types: ["Ingress"], ingress: [{ action: "Deny" }] }),
  ],
  "before destination NAT, where a refusal is an answer": [
    all,
    resource("FelixConfiguration", "default", { iptablesFilterDenyAction: "Reject" }),
    gnp("p", { preDNAT: true, applyOnForward: true, types: ["Ingress"], ingress: [tcp("Deny", 8080)] }),
    gnp("q", { doNotTrack: true, applyOnForward: true, types: ["Ingress"], ingress: [tcp("Deny", 81)] }),
  ],
  "ingress by port, where pods have no IPv6": [
    eth0,
    resource("FelixConfiguration", "default", { ipv6Support: false }),
    gnp("p", { types: ["Ingress"], ingress: [tcp("Allow", 80)] }),
  ],
  "VXLAN of another node": [vxlan, vxlanPort, resource("Node", "n2", { bgp: { ipv4Address: `${FAR}/24` } })],
  "VXLAN of nobody": [vxlan, vxlanPort],
};

/** What is tried: to the node, a port that it translates to 80, through it, and from it. */
const TRIES: Readonly<Record<string, readonly [from: string, to: string, port: number, udp?: "udp"]>> = {
  ...{
    "far:22": [FAR, NODE, 22],
    "far:80": [FAR, NODE, 80],
    "far:81": [FAR, NODE, 81],
    "far:8080": [FAR, NODE, 8080],
  },
  ...{ "behind:80": [FAR, BEHIND, 80], "behind:81": [FAR, BEHIND, 81] },
  ...{ "out:80": [NODE, FAR, 80], "out:6443": [NODE, FAR, 6443] },
  "far:81/udp": [FAR, NODE, 81, "udp"],
  "far:80/udp": [FAR, NODE, 80, "udp"],
  "far:68/udp": [FAR, NODE, 68, "udp"],
  "far:8080/udp": [FAR, NODE, 8080, "udp"],
  "behind:80/udp": [FAR, BEHIND, 80, "udp"],
  "out:53/udp": [NODE, FAR, 53, "udp"],
  "out:80/udp": [NODE, FAR, 80, "udp"],
  "far6:22": [FAR6, NODE6, 22],
  "far6:81": [FAR6, NODE6, 81],
  "far6:80/udp": [FAR6, NODE6, 80, "udp"],
  "out6:81": [NODE6, FAR6, 81],
  "far6:8080": [FAR6, NODE6, 8080],
  "out6:6443": [NODE6, FAR6, 6443],
};

let probes = 0;

const SERVICES = "198.18.0.0/24";

/**
 * How often `far`, the router that the services' range was announced to, sees a packet to a service that nobody has: it sends
 * it back to the node, whose default route leads to `far` again.
 */
async function loops(
  apply: Loader["apply"],
  behind: ReturnType<typeof startProber>,
): Promise<Record<string, number>> {
  const inFar = (text: string) => run(`nsenter --net=/run/netns/far sh -c '${text}'`);
  run(`ip route add default via ${FAR}; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done`);
  inFar(
    `ip route add ${SERVICES} via ${NODE}; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done`,
  );
  inFar(`echo 1 > /proc/sys/net/ipv4/ip_forward; iptables-nft -t raw -A PREROUTING -d ${SERVICES}`);
  const seen = () =>
    Number(inFar("iptables-nft -t raw -L PREROUTING -nvx").split("\n")[2]?.trim().split(/ +/)[0]);
  const found: Record<string, number> = {};
  for (const serviceLoopPrevention of ["Disabled", "Drop", "Reject"]) {
    const settings = resource("FelixConfiguration", "default", { serviceLoopPrevention });
    const announced = resource("BGPConfiguration", "default", { serviceClusterIPs: [{ cidr: SERVICES }] });
    const calc = new Calc("n1");
    calc.apply(
      [settings, announced].map((value) => ({ key: keyOf(value.kind, value.metadata.name), value })),
    );
    await apply(calc.state());
    const before = seen();
    const id = ++probes;
    await behind.ask({
      ...{ id, protocol: "udp", from: BEHIND, sourcePort: 20_000 + id, to: "198.18.0.5", port: 80 },
      patienceMs: 300,
    });
    found[serviceLoopPrevention] = seen() - before;
  }
  return found;
}

async function main(): Promise<void> {
  run("mount -t tmpfs tmpfs /run && ip link set lo up");
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  wire("far", "eth0", 0);
  wire("behind", "eth1", 1);
  for (const tool of ["iptables-nft", "ip6tables-nft"])
    for (const protocol of ["tcp", "udp"])
      run(`${tool} -t nat -A PREROUTING -i eth0 -p ${protocol} --dport 8080 -j REDIRECT --to-ports 80`);
  const [node, far, behind] = [
    startProber(undefined, PORTS),
    startProber("far", PORTS),
    startProber("behind", PORTS),
  ];
  await Promise.all([node.ready, far.ready, behind.ready]);
  const { apply } = loader(process.argv[2]);
  const found: Record<string, object> = {};
  for (const [scenario, resources] of Object.entries(SCENARIOS)) {
    const calc = new Calc("n1");
    calc.setInterfaces(new Map([["eth0", new Set([NODE])]]));
    calc.apply(resources.map((value) => ({ key: keyOf(value.kind, value.metadata.name), value })));
    await apply(calc.state());
    run("conntrack -F 2>/dev/null");
    const tried = Object.entries(TRIES).map(async ([name, [from, to, port, protocol = "tcp" as const]]) => {
      const id = ++probes;
      const probe = {
        id,
        protocol,
        from,
        sourcePort: 20_000 + id,
        to,
        port,
        patienceMs: 700,
      };
      const { verdict }: Probed = await ([NODE, NODE6].includes(from) ? node : far).ask(probe);
      return verdict === "allow" ? [name] : [];
    });
    const reached = (await Promise.all(tried)).flat();
    const tracked = /dst=10.0.0.1 sport=\d+ dport=81 /.test(run("conntrack -L 2>/dev/null"));
    found[scenario] = { reached, tracked };
  }
  const looped = await loops(apply, behind);
  for (const one of [node, far, behind]) one.stop();
  process.stdout.write(JSON.stringify({ found, looped }));
}

await main();
process.exit(0);
