import type { AnyResource, WorkloadEndpoint } from "@margay/api";
import { forward, type NodeState } from "@margay/calc";
import { parseAddress } from "@margay/net";
import { loader } from "./loader.ts";
import { address, asNode, endpoint, mac, PODS, type Pod, resource, run, stateWith } from "./pods.ts";
import type { Probe } from "./prober.ts";
import { randomPolicies } from "./random-policies.ts";
import { spoofing, toHost } from "./spoofing.ts";
import { startProber } from "./start-prober.ts";

/**
 * Run under `unshare -Urnm`: this namespace is the node, three more are pods. Loads what is rendered for each scenario,
 * sends real packets, and prints where the kernel and the evaluator disagree, as JSON. Arguments: the
 * backend, and the seed of the random scenarios.
 */
const PORTS = [80, 81, 8080];
const SCENARIOS: Readonly<Record<string, readonly AnyResource[]>> = {
  "profiles allow": [],
  "no profile": [resource("Profile", "kns.x", {})],
  "selector, ports and named port": [
    resource("NetworkPolicy", "p", {
      selector: "app == 'a'",
      ingress: [
        {
          action: "Allow",
          protocol: "TCP",
          source: { selector: "app == 'b'" },
          destination: { ports: [80, "web"] },
        },
        {
          action: "Allow",
          protocol: "UDP",
          source: { notSelector: "app == 'b'" },
          destination: { notPorts: [80] },
        },
      ],
    }),
  ],
  "tiers, pass and egress": [
    resource("Tier", "early", { order: 1 }),
    resource("GlobalNetworkPolicy", "e", {
      ...{ tier: "early", selector: "app in {'a','b'}", types: ["Ingress", "Egress"] },
      ingress: [{ action: "Deny", protocol: "TCP", destination: { ports: ["81:8000"] } }, { action: "Pass" }],
      egress: [
        { action: "Log", protocol: "UDP" },
        { action: "Allow", protocol: "UDP" },
        { action: "Pass", ipVersion: 4 },
      ],
    }),
    resource("NetworkPolicy", "d", {
      ...{ selector: "app == 'b'", types: ["Egress"] },
      egress: [
        { action: "Allow", destination: { nets: ["10.244.0.0/24"], notNets: ["10.244.0.3/32"] } },
        {
          action: "Allow",
          protocol: "TCP",
          destination: { domains: ["c.example", "*.b.example"], ports: [80, 8080] },
        },
      ],
    }),
  ],
  "staged policies decide nothing": [
    resource("StagedGlobalNetworkPolicy", "s", {
      ...{ order: 1, selector: "all()", types: ["Ingress", "Egress"] },
      ...{ ingress: [{ action: "Deny", protocol: "UDP" }], egress: [{ action: "Deny", ipVersion: 6 }] },
    }),
    resource("GlobalNetworkPolicy", "e", {
      selector: "app == 'a'",
      ingress: [
        { action: "Allow", protocol: "UDP" },
        { action: "Allow", ipVersion: 6 },
      ],
    }),
  ],
  "VXLAN, on a port that pods are asked at": [
    resource("IPPool", "p", { cidr: "10.244.0.0/16", vxlanMode: "Always" }),
    resource("FelixConfiguration", "default", { vxlanPort: 81 }),
  ],
};

/** Addresses of c beside its own: one that the node routes to b, and one that it routes nowhere. */
const ELSEWHERE = "10.244.0.9";
const NOWHERE = "10.244.0.10";

/** Which of them c cannot send from, by the setting; a source that is not a pod's own is another rule's business. */
async function reversePath(probers: Probers): Promise<Record<string, string[]>> {
  const { spec } = endpoint("c") as WorkloadEndpoint; // of this kind
  const ipNetworks = [...spec.ipNetworks, `${ELSEWHERE}/32`, `${NOWHERE}/32`];
  for (const ip of [ELSEWHERE, NOWHERE]) run(`ip -n c addr add ${ip}/32 dev lo`);
  run(`ip route add ${ELSEWHERE} dev calib`);
  const found: Record<string, string[]> = {};
  for (const workloadRPF of ["Strict", "Loose", "Disabled"]) {
    const state = stateWith([
      resource("WorkloadEndpoint", "c", { ...spec, ipNetworks }, { app: "c" }),
      resource("FelixConfiguration", "default", { workloadRPF }),
    ]);
    await apply(state);
    const refused = async () => (await packets()).get("workload/reverse-path") ?? 0;
    found[workloadRPF] = [];
    for (const [name, from] of Object.entries({ elsewhere: ELSEWHERE, nowhere: NOWHERE })) {
      const before = await refused();
      const flow = { from: "c", to: "a", port: 80, family: 4, protocol: "udp" } as const;
      await probers.c.ask({ ...probeOf(flow, 100), from });
      if ((await refused()) > before) found[workloadRPF]?.push(name);
    }
  }
  return found;
}

const SERVICE = "10.96.0.9";

/** Under a policy that allows nothing: what a pod sends to itself by way of a Service, as kube-proxy translates it; and its node's packets. */
async function always(probers: Probers, node: ReturnType<typeof prober>): Promise<Record<string, string>> {
  const nothing = { selector: "all()", types: ["Ingress", "Egress"] };
  await apply(stateWith([resource("GlobalNetworkPolicy", "nothing", nothing)]));
  const own = address("a", 4);
  run(`/usr/sbin/iptables-nft -t nat -A PREROUTING -d ${SERVICE} -j DNAT --to ${own}`);
  run(`/usr/sbin/iptables-nft -t nat -A POSTROUTING -s ${own} -d ${own} -j SNAT --to 192.0.2.1`);
  run("ip addr add 192.0.2.1/32 dev lo");
  const flow = { from: "a", to: "a", port: 80, family: 4, protocol: "tcp" } as const;
  const toItself = await probers.a.ask({ ...probeOf(flow, 3000), to: SERVICE });
  const fromNode = await node.ask({ ...probeOf(flow, 3000), from: "192.0.2.1" });
  const toOther = await probers.a.ask({ ...probeOf({ ...flow, to: "b" }), from: own });
  run("/usr/sbin/iptables-nft -t nat -F");
  return { toItself: toItself.verdict, fromNode: fromNode.verdict, toOther: toOther.verdict };
}

const SENT = 10;

/** How many of ten new flows a Log rule logs, as the kernel counts what reaches its log target: without and with a limit. */
async function logged(probers: Probers): Promise<Record<string, number>> {
  const rule = { action: "Log", protocol: "UDP", destination: { ports: [81] } };
  const policy = { selector: "app == 'a'", ingress: [rule, { action: "Allow" }] };
  const count = async (settings: object) => {
    const state = stateWith([
      resource("GlobalNetworkPolicy", "l", policy),
      // Longer than xt_LOG takes.
      resource("FelixConfiguration", "default", { logPrefix: "margay %t %k %n %p %p %p", ...settings }),
    ]);
    await apply(state);
    const seen = async () => (await packets()).get("gnp/l/in/0") ?? 0;
    const before = await seen();
    const flow = { from: "c", to: "a", port: 81, family: 4, protocol: "udp" } as const;
    for (let i = 0; i < SENT; i++) await probers.c.ask(probeOf(flow));
    return (await seen()) - before;
  };
  const limit = { logActionRateLimit: "1/hour", logActionRateLimitBurst: 3 };
  return {
    unlimited: await count({ logActionRateLimit: "10000/second", logActionRateLimitBurst: 10_000 }),
    limited: await count(limit),
  };
}

/** How many of ten new flows a staged Deny lets through and counts; and of those that an enforced policy decided before it. */
async function staged(probers: Probers): Promise<Record<string, number>> {
  const udp = (action: string) => ({ selector: "app == 'a'", ingress: [{ action, protocol: "UDP" }] });
  const count = async (order: number) => {
    const state = stateWith([
      resource("StagedGlobalNetworkPolicy", "s", { order, ...udp("Deny") }),
      resource("GlobalNetworkPolicy", "e", { order: 2, ...udp("Allow") }),
    ]);
    await apply(state);
    const seen = async () => (await packets()).get("staged/gnp/s/in/0") ?? 0;
    const before = await seen();
    const flow = { from: "c", to: "a", port: 81, family: 4, protocol: "udp" } as const;
    let allowed = 0;
    for (let i = 0; i < SENT; i++)
      if ((await probers.c.ask(probeOf(flow, 5000))).verdict === "allow") allowed++;
    return { allowed, counted: (await seen()) - before };
  };
  return { ...(await count(1)), countedBehindADecision: (await count(3)).counted };
}

const { apply, packets } = loader(process.argv[2]);

const prober = (pod: Pod | undefined) => startProber(pod, PORTS);

/** Every pod to every other, every port, protocol and family. */
const FLOWS = PODS.flatMap((from) =>
  PODS.filter((to) => to !== from).flatMap((to) =>
    PORTS.flatMap((port) =>
      ([4, 6] as const).flatMap((family) =>
        (["tcp", "udp"] as const).map((protocol) => ({ from, to, port, family, protocol })),
      ),
    ),
  ),
);

type Flow = (typeof FLOWS)[number];
type Probers = Readonly<Record<Pod, ReturnType<typeof prober>>>;

let probes = 0;

/** A probe of a flow; its number makes its source port, so that no two are one flow to connection tracking. */
function probeOf({ from, to, port, family, protocol }: Flow, patienceMs = 400): Probe {
  const id = ++probes;
  const ends = { from: address(from, family), sourcePort: 20000 + id, to: address(to, family), port };
  return { id, protocol, ...ends, patienceMs };
}

function evaluate(state: NodeState, flow: Flow, probe: Probe): "allow" | "deny" {
  const packet = {
    ...{ source: parseAddress(probe.from), destination: parseAddress(probe.to) },
    ...{
      sourcePort: probe.sourcePort,
      destinationPort: probe.port,
      protocol: flow.protocol === "tcp" ? 6 : 17,
    },
  };
  const { from, to } = flow;
  const journey = { fromInterface: `cali${from}`, sourceMac: mac(from), toInterface: `cali${to}` };
  return forward(state, packet, journey).verdict;
}

/** What the kernel does with a flow. A busy machine may lose patience with one that is allowed: that is asked again. */
async function probe(state: NodeState, flow: Flow, probers: Probers) {
  const first = probeOf(flow);
  const evaluated = evaluate(state, flow, first);
  const { verdict } = await probers[flow.from].ask(first);
  if (verdict === evaluated || verdict === "allow") return { ...flow, kernel: verdict, evaluated };
  const again = await probers[flow.from].ask(probeOf(flow, 5000));
  return { ...flow, kernel: again.verdict, evaluated };
}

async function main(): Promise<void> {
  asNode({ routes: true });
  const probers: Probers = { a: prober("a"), b: prober("b"), c: prober("c") };
  await Promise.all(PODS.map((pod) => probers[pod].ready));
  const random = randomPolicies(Number(process.argv[3] ?? 1), 6).map(
    (list, i) => [`random ${i}`, list] as const,
  );
  const results: { scenario: string; kernel: string; evaluated: string }[] = [];
  for (const [scenario, resources] of [...Object.entries(SCENARIOS), ...random]) {
    const state = stateWith(resources);
    await apply(state);
    const probed = await Promise.all(FLOWS.map((flow) => probe(state, flow, probers)));
    results.push(...probed.map((one) => ({ scenario, ...one })));
  }
  const spoofed = await spoofing(probers.c, apply);
  const refused = await reversePath(probers);
  const log = await logged(probers);
  const ofStaged = await staged(probers);
  const node = prober(undefined);
  await node.ready;
  const unpoliced = await always(probers, node);
  const asked = await toHost(probers.c, apply, "192.0.2.1"); // which is the node's by now
  node.stop();
  for (const pod of PODS) probers[pod].stop();
  const report = {
    disagreements: results.filter(({ kernel, evaluated }) => kernel !== evaluated),
    seen: Object.fromEntries(
      ["allow", "deny"].map((v) => [v, results.filter(({ kernel }) => kernel === v).length]),
    ),
    ...{ spoofed, toHost: asked, unpoliced },
    ...{ reversePath: refused, logged: log, staged: ofStaged },
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

await main();
