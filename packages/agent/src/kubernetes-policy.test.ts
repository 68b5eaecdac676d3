import { execFileSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { type AnyResource, ApiError, closedPolicies, parseKubernetes } from "@margay/api";
import { Calc, forward, type NodeState } from "@margay/calc";
import { parseAddress } from "@margay/net";
import { unshared } from "@margay/testing";
import { CLUSTER_POLICIES, NETWORK_POLICIES, type Row } from "./render/testing/kubernetes-policies.ts";
import { loader } from "./render/testing/loader.ts";
import { FAR, outside } from "./render/testing/outside.ts";
import { address, asNode, mac, PODS, type Pod, resource, run, updateOf } from "./render/testing/pods.ts";
import { startProber } from "./render/testing/start-prober.ts";

/**
 * The API's own words, document by document, on the kernel: who reaches whom by real packets. Pods: x/a with two IPv4 addresses and x/b,
 * y/c; `far` and `far2` are outside, `node` is the pods' own.
 */
const PORTS = [80, 81, 8080];
const SECOND = "10.244.0.21";
const FAR2 = { 4: "192.0.2.200", 6: "fd00:2::c8" } as const;
const NODE = { 4: "192.0.2.1", 6: "fd00:2::1" } as const;
const OTHERS: Readonly<Record<string, Readonly<Partial<Record<4 | 6, string>>>>> = {
  ...{ far: FAR, far2: FAR2, node: NODE, a2: { 4: SECOND } },
};
const isPod = (name: string): name is Pod => (PODS as readonly string[]).includes(name);
const addressOf = (name: string, family: 4 | 6) =>
  isPod(name) ? address(name, family) : OTHERS[name]?.[family];

/** Labels and named ports of the pods, and labels of their namespaces. */
const WORLD: Readonly<Record<Pod, { namespace: string; labels: object; ports: readonly object[] }>> = {
  a: {
    ...{ namespace: "x", labels: { role: "db", level: "" } },
    ports: [{ name: "web", protocol: "TCP", port: 8080 }],
  },
  b: {
    ...{ namespace: "x", labels: { role: "frontend" } },
    ports: [
      { name: "web", protocol: "TCP", port: 80 },
      { name: "dns", protocol: "UDP", port: 81 },
    ],
  },
  c: {
    ...{ namespace: "y", labels: { role: "frontend", level: "gold" } },
    ports: [{ name: "web", protocol: "TCP", port: 81 }],
  },
};

function endpoint(pod: Pod): AnyResource {
  const { namespace, labels, ports } = WORLD[pod];
  const ips = [address(pod, 4), ...(pod === "a" ? [SECOND] : [])].map((ip) => `${ip}/32`);
  const { metadata, ...rest } = resource("WorkloadEndpoint", pod, {
    ...{ orchestrator: "k8s", node: "n1", pod, endpoint: "eth0", profiles: [`kns.${namespace}`], ports },
    ...{ interfaceName: `cali${pod}`, mac: mac(pod), ipNetworks: [...ips, `${address(pod, 6)}/128`] },
  });
  return { ...rest, metadata: { ...metadata, namespace, labels } } as AnyResource; // what it was, elsewhere
}

/** As the controllers take it: what is refused stands closed. */
function converted(document: object): AnyResource {
  try {
    const made = parseKubernetes(document);
    if (made) return made.resource;
    throw new Error("of no kind that is converted");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const { kind, ...object } = document as { kind: keyof typeof closedPolicies } & Parameters<
      (typeof closedPolicies)["NetworkPolicy"]["close"]
    >[0];
    const { close, closeByRule } = closedPolicies[kind];
    return closeByRule?.(object) ?? close(object);
  }
}

const namespace = (name: string, labels: object) => ({
  ...{ apiVersion: "v1", kind: "Namespace" },
  metadata: { name, labels: { "kubernetes.io/metadata.name": name, ...labels } },
});

function stateOf(documents: readonly object[], settings: object = {}): NodeState {
  const calc = new Calc("n1");
  const node = { bgp: { ipv4Address: `${NODE[4]}/24`, ipv6Address: `${NODE[6]}/64` } };
  const own = [
    resource("Node", "n1", node, { zone: "one" }),
    resource("FelixConfiguration", "default", settings),
  ];
  const namespaces = [namespace("x", { team: "one" }), namespace("y", { team: "two" })];
  const resources = [...own, ...PODS.map(endpoint), ...[...namespaces, ...documents].map(converted)];
  calc.apply(resources.map(updateOf));
  return calc.state();
}

interface Flow {
  readonly text: string;
  readonly from: string;
  readonly to: string;
  readonly family: 4 | 6;
  readonly protocol: "tcp" | "udp";
  readonly port: number;
}

/** `b > a tcp 80`, in each family that both have; `b > a tcp 80 v6` in that one. */
function flowsOf(text: string): Flow[] {
  const [from = "", , to = "", protocol = "", port, only] = text.split(" ");
  const families = ([4, 6] as const).filter((family) => only === undefined || only === `v${family}`);
  return families
    .filter((family) => addressOf(from, family) && addressOf(to, family))
    .map((family) => ({
      ...{ text: `${from} > ${to} ${protocol} ${port} v${family}`, from, to, family },
      ...{ protocol: protocol === "udp" ? "udp" : "tcp", port: Number(port) },
    }));
}

function evaluated(state: NodeState, flow: Flow): string {
  const packet = {
    source: parseAddress(addressOf(flow.from, flow.family) ?? ""),
    destination: parseAddress(addressOf(flow.to, flow.family) ?? ""),
    ...{ protocol: flow.protocol === "tcp" ? 6 : 17, sourcePort: 40_000, destinationPort: flow.port },
  };
  const to = flow.to === "a2" ? "a" : flow.to;
  const journey = {
    ...(isPod(flow.from) && { fromInterface: `cali${flow.from}`, sourceMac: mac(flow.from) }),
    ...(isPod(to) && { toInterface: `cali${to}` }),
  };
  return forward(state, packet, journey).verdict;
}

unshared(import.meta.url, () => {
  type Prober = ReturnType<typeof startProber>;
  const probers = new Map<string, Prober>();
  const namespaces = { a: "a", b: "b", c: "c", far: "far", node: undefined };
  beforeAll(async () => {
    asNode({ routes: true });
    outside();
    run(`ip -n a addr add ${SECOND}/32 dev eth0`);
    run(`ip route add ${SECOND} dev calia`);
    run(`ip neigh add ${SECOND} lladdr ${mac("a")} dev calia nud permanent`);
    run(`ip -n far addr add ${FAR2[4]}/24 dev eth0`);
    run(`ip -n far addr add ${FAR2[6]}/64 dev eth0 nodad`);
    for (const [name, where] of Object.entries(namespaces)) probers.set(name, startProber(where, PORTS));
    await Promise.all([...probers.values()].map(({ ready }) => ready));
  });
  afterAll(() => {
    for (const { stop } of probers.values()) stop();
  });
  afterEach(() => {
    for (const tool of ["iptables-legacy", "ip6tables-legacy"])
      for (const table of ["filter", "raw", "mangle", "nat"])
        for (const what of ["-F", "-X"]) execFileSync(tool, ["-t", table, what]);
    execFileSync("nft", ["flush", "ruleset"]);
  });

  let probes = 0;
  /** A verdict that is expected is waited for: a busy machine is slow, and a denied packet is never answered. */
  async function probed(flow: Flow, isExpected: boolean): Promise<string> {
    const id = ++probes;
    const prober = probers.get(flow.from === "far2" ? "far" : flow.from);
    const ends = { from: addressOf(flow.from, flow.family) ?? "", to: addressOf(flow.to, flow.family) ?? "" };
    const { protocol, port } = flow;
    const patienceMs = isExpected ? 5000 : 200;
    const answer = await prober?.ask({ id, protocol, port, ...ends, sourcePort: 20_000 + id, patienceMs });
    return answer?.verdict ?? "nobody asks";
  }

  /** The flows whose verdict, by packet or by evaluation, is not the one that the row tells. */
  async function wrong(state: NodeState, { allowed, denied }: Row): Promise<string[]> {
    const asked = [
      ...allowed.flatMap(flowsOf).map((flow) => ({ flow, verdict: "allow" })),
      ...denied.flatMap(flowsOf).map((flow) => ({ flow, verdict: "deny" })),
    ];
    const found = await Promise.all(
      asked.map(async ({ flow, verdict }) => {
        const kernel = await probed(flow, verdict === "allow");
        const isNode = flow.from === "node" || flow.to === "node";
        const said = isNode ? verdict : evaluated(state, flow);
        return kernel === verdict && said === verdict ? [] : [`${flow.text}: ${kernel}, evaluated ${said}`];
      }),
    );
    return found.flat();
  }

  test.each(["nft", "legacy", "nftables"])(
    "%s: each word of the API about NetworkPolicy and ClusterNetworkPolicy, by real packets",
    async (backend) => {
      const { apply } = loader(backend);
      const faults: Record<string, readonly string[]> = {};
      for (const [why, row] of Object.entries({ ...NETWORK_POLICIES, ...CLUSTER_POLICIES })) {
        const state = stateOf(row.documents, row.settings);
        await apply(state);
        const problems = state.problems.map(({ subject, why }) => `${subject}: ${why}`);
        const found = [...problems, ...(await wrong(state, row))];
        if (found.length > 0) faults[why] = found;
      }
      expect(faults).toEqual({});
    },
    300_000,
  );
});
