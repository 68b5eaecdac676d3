import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc, type NodeState } from "@margay/calc";
import { type Address, formatAddress, parseAddress } from "@margay/net";
import type { Connection, Tuple } from "@margay/netlink";
import { judge } from "./flows.ts";

const CUT = 0x40000;
const resource = (kind: string, metadata: object, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource;
const hep = (name: string, interfaceName: string, role = "node") =>
  resource("HostEndpoint", { name, labels: { role } }, { node: "n1", interfaceName });
const gnp = (name: string, spec: object) =>
  resource("GlobalNetworkPolicy", { name }, { selector: "role == 'node'", ...spec });
const tcp = (port: number) => ({ action: "Allow", protocol: "TCP", destination: { ports: [port] } });
const pod = resource(
  "WorkloadEndpoint",
  { name: "web", namespace: "a" },
  {
    ...{ orchestrator: "k8s", node: "n1", pod: "web", endpoint: "eth0", interfaceName: "caliweb" },
    ...{ ipNetworks: ["10.0.0.9/32"], profiles: ["kns.a"] },
  },
);

function stateOf(...resources: readonly AnyResource[]) {
  const calc = new Calc("n1");
  calc.apply(
    [pod, ...resources].map((value) => ({
      key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
      value,
    })),
  );
  return calc.state();
}

/** "192.0.2.1:999 > 172.20.0.11:80", of TCP; with "as" where it leads after translation. */
function flow(text: string, mark = 0): Connection {
  const ends = text.split(/ > | as /).map((end) => {
    const [address = "", port] = end.split(":");
    return { address: parseAddress(address), port: Number(port) };
  });
  const [from, to, real = to] = ends;
  if (!from || !to || !real) throw new Error(text);
  const tuple = (a: typeof from, b: typeof from): Tuple => ({
    ...{ source: a.address, destination: b.address, protocol: 6 },
    ...{ sourcePort: a.port, destinationPort: b.port },
  });
  return { original: tuple(from, to), reply: tuple(real, from), mark, isRelated: false, name: [] };
}

const NODE = "172.20.0.11";
/** 192.0.2.0/24 is behind eth0, 203.0.113.0/24 behind eth1; of others nobody knows. */
const wayTo = (address: Address) =>
  ({ "192.0": "eth0", "203.0": "eth1" })[formatAddress(address).split(".").slice(0, 2).join(".")];
const judged = (state: NodeState, connections: readonly Connection[]) =>
  judge(state, {
    ...{ connections, endpoints: [], byHosts: true, own: [parseAddress(NODE)], wayTo, cutBit: CUT },
  });
const one = hep("h", "eth0");
const both = [one, hep("i", "eth1")];
const open = hep("i", "eth1", "open");
const ANY = gnp("q", { selector: "role == 'open'", ingress: [{ action: "Allow" }] });
const early = gnp("e", {
  ...{ preDNAT: true, applyOnForward: true, types: ["Ingress"] },
  ingress: [{ action: "Deny", protocol: "TCP", destination: { ports: [8080] } }],
});
const through = gnp("p", {
  ...{ applyOnForward: true, types: ["Ingress", "Egress"], ingress: [tcp(80)], egress: [tcp(443)] },
});
const onlyWeb = gnp("p", { types: ["Ingress", "Egress"], ingress: [tcp(80)], egress: [tcp(443)] });

test.each<[why: string, resources: readonly AnyResource[], flow: string, isCut: boolean]>([
  ["what policy allows", [one, onlyWeb], `192.0.2.1:999 > ${NODE}:80`, false],
  ["what it denies", [one, onlyWeb], `192.0.2.1:999 > ${NODE}:81`, true],
  ["the node's own, allowed", [one, onlyWeb], `${NODE}:999 > 192.0.2.1:443`, false],
  ["the node's own, denied", [one, onlyWeb], `${NODE}:999 > 192.0.2.1:444`, true],
  ["a failsafe port", [one, onlyWeb], `192.0.2.1:999 > ${NODE}:22`, false],
  ["... and one that was taken up in its middle, by an answer", [one], `192.0.2.1:2379 > ${NODE}:999`, false],
  ["no policy, no profile: closed", [one], `192.0.2.1:999 > ${NODE}:80`, true],
  ["a pod of the node: by its own interface", [one], `10.0.0.9:999 > ${NODE}:80`, false],
  ["the node to itself", [one], `${NODE}:999 > ${NODE}:80`, false],
  ["what is forwarded", [one], "192.0.2.1:999 > 10.0.7.1:80", false],
  ["a node port: forwarded as well", [one], `192.0.2.1:999 > ${NODE}:30000 as 10.0.7.1:80`, false],
  [
    "a port of the node translated to an allowed one",
    [one, onlyWeb],
    `192.0.2.1:999 > ${NODE}:8080 as ${NODE}:80`,
    false,
  ],
  [
    "of two interfaces one allows it, and nobody knows by which it came",
    [one, open, onlyWeb, ANY],
    `198.51.100.1:999 > ${NODE}:81`,
    false,
  ],
  [
    "of two interfaces the one that leads back denies it",
    [one, open, onlyWeb, ANY],
    `192.0.2.1:999 > ${NODE}:81`,
    true,
  ],
  ["... and here allows it", [one, open, onlyWeb, ANY], `203.0.113.1:999 > ${NODE}:81`, false],
  ["by an interface that has no host endpoint", [one, onlyWeb], `203.0.113.1:999 > ${NODE}:81`, false],
  ["of two interfaces both deny it", [...both, onlyWeb], `198.51.100.1:999 > ${NODE}:81`, true],
  ["denied before destination NAT", [one, early], `192.0.2.1:999 > ${NODE}:8080 as ${NODE}:80`, true],
  ["forwarded, and no policy is about that", [one, onlyWeb], "192.0.2.1:999 > 203.0.113.1:81", false],
  ["forwarded, denied where it comes in", [one, through], "192.0.2.1:999 > 203.0.113.1:81", true],
  ["forwarded, allowed", [one, through], "192.0.2.1:999 > 203.0.113.1:80", false],
  ["forwarded, denied where it leaves", [one, through], "203.0.113.1:999 > 192.0.2.1:444", true],
  ["forwarded, by other interfaces", [one, through], "203.0.113.1:999 > 203.0.113.2:81", false],
  ["to a pod, denied where it comes in", [one, through], "192.0.2.1:999 > 10.0.0.9:81", true],
  [
    "to a pod by a node port, denied by the pod's port",
    [one, through],
    `192.0.2.1:999 > ${NODE}:80 as 10.0.0.9:81`,
    true,
  ],
  ["from a pod, denied where it leaves", [one, through], "10.0.0.9:999 > 192.0.2.1:444", true],
  ["from a pod by another interface", [one, through], "10.0.0.9:999 > 203.0.113.1:444", false],
])("%s", (_why, resources, text, isCut) => {
  const connections = [flow(text)];
  const { cut, free } = judged(stateOf(...resources), connections);
  expect({ cut: cut.length, free: free.length }).toEqual({ cut: isCut ? 1 : 0, free: 0 });
});

test("one that was cut and is allowed again is forgotten; one that is still denied stays cut", () => {
  const connections = [80, 81].map((port) => flow(`192.0.2.1:999 > ${NODE}:${port}`, CUT));
  const state = stateOf(one, onlyWeb);
  expect(judged(state, connections)).toEqual({
    cut: [],
    free: [connections[0]],
  });
});
