import { expect, test } from "@jest/globals";
import { keyOf, parseKubernetes } from "@margay/api";
import { parseAddress } from "@margay/net";
import fc from "fast-check";
import { Calc, type Update } from "./calc.ts";
import {
  type ClusterPolicy,
  isAllowedBy,
  type NetworkPolicy,
  type OracleCluster,
  type OraclePacket,
  type OraclePod,
} from "./testing/kubernetes-oracle.ts";
import { host, namespace, pod } from "./testing/resources.ts";
import { forward } from "./verdict.ts";

/**
 * Documents of Kubernetes at one end, verdicts at the other: conversion, compilation and evaluation against a reading of the same
 * documents that shares nothing with them.
 */
const pick = <T>(...values: readonly T[]) => fc.constantFrom(...values);
const some = <T>(one: fc.Arbitrary<T>, most: number, least = 0) =>
  fc.array(one, { minLength: least, maxLength: most });
/** Absent now and then. */
const may = <T>(field: string, value: fc.Arbitrary<T>) =>
  fc.option(value).map((one) => (one === null ? {} : { [field]: one }));
const together = (...parts: fc.Arbitrary<object>[]) =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as object);

const labels = fc.dictionary(pick("app", "tier"), pick("a", "b"), { maxKeys: 2, noNullPrototype: true });
const requirement = fc.oneof(
  fc.record({ key: pick("app", "tier"), operator: pick("In", "NotIn"), values: some(pick("a", "b"), 2, 1) }),
  fc.record({ key: pick("app", "tier"), operator: pick("Exists", "DoesNotExist") }),
);
const selector = together(may("matchLabels", labels), may("matchExpressions", some(requirement, 2)));

const NETS = ["10.0.0.0/29", "10.0.0.2/31", "192.0.2.0/24", "0.0.0.0/0", "fd00::/125", "fd00::2/127", "::/0"];
const block = pick<{ cidr: string; except?: string[] }>(
  ...NETS.map((cidr) => ({ cidr })),
  { cidr: "10.0.0.0/28", except: ["10.0.0.2/31", "10.0.0.4/32"] },
  { cidr: "0.0.0.0/0", except: ["10.0.0.0/29"] },
  { cidr: "fd00::/64", except: ["fd00::2/127"] },
);
const peer = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.record({ ipBlock: block }),
);
const portNumber = pick(80, 81, 82);
const port = together(
  may("protocol", pick("TCP", "UDP", "SCTP")),
  fc.oneof(
    fc.constant({}),
    fc.record({ port: fc.oneof(portNumber, pick("http", "dns")) }),
    fc.record({ port: portNumber, endPort: pick(82, 83) }),
  ),
);
const rule = (peers: "from" | "to") => together(may(peers, some(peer, 2)), may("ports", some(port, 2)));
const networkPolicy = fc.record({
  namespace: pick("x", "y"),
  spec: together(
    fc.record({ podSelector: selector }),
    may("policyTypes", fc.subarray(["Ingress", "Egress"])),
    may("ingress", some(rule("from"), 3, 1)),
    may("egress", some(rule("to"), 3, 1)),
  ),
}) as unknown as fc.Arbitrary<NetworkPolicy>;

const adminPods = fc.oneof(
  fc.record({ namespaces: selector }),
  fc.record({ pods: together(may("namespaceSelector", selector), may("podSelector", selector)) }),
);
const elsewhere = fc.oneof(
  fc.record({ nodes: selector }),
  fc.record({ networks: fc.subarray(NETS, { minLength: 1, maxLength: 3 }) }),
);
const numbered = fc.tuple(
  pick("tcp", "udp", "sctp"),
  fc.oneof(
    fc.constant({}),
    fc.record({ destinationPort: fc.record({ number: portNumber }) }),
    fc.constant({ destinationPort: { range: { start: 80, end: 81 } } }),
  ),
);
const number = numbered.map(([field, value]) => ({ [field]: value }));
const name = fc.record({ destinationNamedPort: pick("http", "dns") });
const adminRule = (side: "from" | "to", peers: fc.Arbitrary<object>, protocol: fc.Arbitrary<object>) =>
  together(
    fc.record({ action: pick("Accept", "Deny", "Pass"), [side]: some(peers, 2, 1) }),
    may("protocols", some(protocol, 2, 1)),
  );
const adminRules = (side: "from" | "to") =>
  fc.oneof(
    adminRule(side, adminPods, fc.oneof(number, name)),
    ...(side === "to" ? [adminRule(side, fc.oneof(adminPods, elsewhere), number)] : []),
  );
const clusterPolicies = some(
  together(
    fc.record({ tier: pick("Admin", "Baseline"), subject: adminPods }),
    may("ingress", some(adminRules("from"), 2)),
    may("egress", some(adminRules("to"), 2)),
  ),
  3,
).map((all) => all.map((spec, i) => ({ priority: (i * 7) % 5, ...spec }))) as unknown as fc.Arbitrary<
  ClusterPolicy[]
>;

/** Five pods of two namespaces, on two nodes in turn, the last in IPv4 alone; an address outside, and two nodes. */
const HOMES = ["x", "x", "x", "y", "y"];
const addressesOf = (i: number) => [`10.0.0.${i + 1}`, ...(i === 4 ? [] : [`fd00::${i + 1}`])];
const named = fc.record({ name: pick("http", "dns"), protocol: pick("TCP", "UDP"), port: portNumber });
const pods = fc
  .tuple(
    ...HOMES.map(() => fc.tuple(labels, fc.uniqueArray(named, { maxLength: 2, selector: (p) => p.name }))),
  )
  .map((all) =>
    all.map(([its, ports], i): OraclePod => {
      return { namespace: HOMES[i] ?? "", labels: its, ports, addresses: addressesOf(i) };
    }),
  );
const cluster: fc.Arbitrary<OracleCluster> = fc.record({
  namespaces: fc.record({ x: labels, y: labels }, { noNullPrototype: true }),
  nodes: labels.map((its) => [
    { labels: its, address: "172.20.0.11" },
    { labels: {}, address: "172.20.0.12" },
  ]),
  pods,
  networkPolicies: some(networkPolicy, 3),
  clusterPolicies,
});
const OUTSIDE = ["192.0.2.1", "172.20.0.11", "172.20.0.12"];
const V4 = [...HOMES.map((_, i) => `10.0.0.${i + 1}`), ...OUTSIDE];
const V6 = ["fd00::1", "fd00::2", "fd00::3", "fd00::4", "2001:db8::1"];
const packet: fc.Arbitrary<OraclePacket> = fc
  .record({
    ends: fc.oneof(
      fc.shuffledSubarray(V4, { minLength: 2, maxLength: 2 }),
      fc.shuffledSubarray(V6, { minLength: 2, maxLength: 2 }),
    ),
    protocol: pick("TCP", "TCP", "UDP", "SCTP", "ICMP"),
    port: pick(80, 81, 82, 83),
  })
  .map(({ ends: [source = "", destination = ""], ...flow }) => ({ source, destination, ...flow }));

const converted = (document: object): Update => {
  const { resource } = parseKubernetes(document) as { resource: NonNullable<Update["value"]> };
  return { key: keyOf(resource.kind, resource.metadata.name, resource.metadata.namespace), value: resource };
};

/** The interface behind which a pod has the address, on one of the nodes. */
const interfaceOn = (node: number, address: string): string | undefined => {
  const at = HOMES.findIndex((_, i) => addressesOf(i).includes(address));
  return at >= 0 && at % 2 === node ? `cali${HOMES[at]}p${at}` : undefined;
};

const newer = (spec: ClusterPolicy, i: number): object => ({
  ...{ apiVersion: "policy.networking.k8s.io/v1alpha2", kind: "ClusterNetworkPolicy", spec },
  metadata: { name: `c${i}` },
});

/** The same as an AdminNetworkPolicy of v1alpha1, which has no protocol without a port. */
function older({ tier, ...spec }: ClusterPolicy, i: number): object {
  if (tier === "Baseline") return newer({ tier, ...spec }, i);
  const rules = (all: ClusterPolicy["ingress"] = []) =>
    all.map(({ action, protocols, ...peers }) => ({
      ...peers,
      action: action === "Accept" ? "Allow" : action,
      ...(protocols && { ports: protocols.map(olderPort) }),
    }));
  return {
    ...{ apiVersion: "policy.networking.k8s.io/v1alpha1", kind: "AdminNetworkPolicy" },
    metadata: { name: `c${i}` },
    spec: { ...spec, ingress: rules(spec.ingress), egress: rules(spec.egress) },
  };
}

function olderPort(match: NonNullable<NonNullable<ClusterPolicy["ingress"]>[number]["protocols"]>[number]) {
  const [[field = "", value] = []] = Object.entries(match);
  if (typeof value === "string") return { namedPort: value };
  const { number: one, range = { start: 1, end: 65_535 } } = value?.destinationPort ?? {};
  const protocol = field.toUpperCase();
  return one === undefined ? { portRange: { protocol, ...range } } : { portNumber: { protocol, port: one } };
}

const NODES = ["n1", "n2"];

/** Of each node. */
function statesOf(
  { namespaces, nodes, pods: its, networkPolicies, clusterPolicies: admin }: OracleCluster,
  write: (spec: ClusterPolicy, i: number) => object,
) {
  const updates = [
    ...Object.entries(namespaces).map(([name, own]) => namespace(name, own)),
    ...nodes.map(({ address, labels: own }, i) => host(`n${i + 1}`, `${address}/24`, own)),
    ...its.map(({ namespace: home, labels: own, ports, addresses }, i) =>
      pod(`${home}/p${i}`, addresses, { labels: own, node: NODES[i % 2] ?? "", spec: { ports } }),
    ),
    ...networkPolicies.map(({ namespace: home, spec }, i) =>
      converted({
        ...{ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", spec },
        metadata: { name: `p${i}`, namespace: home },
      }),
    ),
    ...admin.map((spec, i) => converted(write(spec, i))),
  ];
  return NODES.map((node) => {
    const calc = new Calc(node);
    calc.apply(updates);
    return calc.state();
  });
}

const NUMBERS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

test.each([
  ["ClusterNetworkPolicy", newer],
  ["AdminNetworkPolicy", older],
] as const)("NetworkPolicy and %s, converted, compiled and evaluated, mean what they say", (_kind, write) => {
  const seen = { allow: 0, deny: 0, admin: 0, ports: 0 };
  fc.assert(
    fc.property(cluster, some(packet, 30, 30), (world, packets) => {
      const states = statesOf(world, write);
      expect(states.flatMap(({ problems }) => problems)).toEqual([]);
      for (const one of packets) {
        const [source, destination] = [parseAddress(one.source), parseAddress(one.destination)];
        const icmp = source.family === 4 ? 1 : 58;
        const protocol = NUMBERS[one.protocol] ?? icmp;
        const ports = protocol === icmp ? { icmp: { type: 8, code: 0 } } : {};
        const flow = { sourcePort: 40_000, destinationPort: one.port };
        const sent = { source, destination, protocol, ...(protocol === icmp ? ports : flow) };
        const asked = states.map((state, node) => {
          const [from, to] = [interfaceOn(node, one.source), interfaceOn(node, one.destination)];
          const way = { ...(from && { fromInterface: from }), ...(to && { toInterface: to }) };
          return forward(state, sent, way);
        });
        const verdict = asked.every((each) => each.verdict === "allow") ? "allow" : "deny";
        const steps = asked.flatMap((each) => each.steps);
        expect({ ...one, verdict }).toEqual({
          ...one,
          verdict: isAllowedBy(world, one) ? "allow" : "deny",
        });
        seen[verdict]++;
        seen.admin += steps.at(-1)?.tier?.startsWith("kube-") && steps.at(-1)?.policy ? 1 : 0;
        seen.ports += steps.at(-1)?.policy?.startsWith("np/") ? 1 : 0;
      }
    }),
    { numRuns: 250 },
  );
  expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(900);
  expect(Math.min(seen.admin, seen.ports)).toBeGreaterThan(80);
});
