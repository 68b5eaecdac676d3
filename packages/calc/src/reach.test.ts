import { expect, test } from "@jest/globals";
import { formatAddress, parseAddress, parsePrefix } from "@margay/net";
import type { Pool } from "./model.ts";
import { type ReachableNode, reach } from "./reach.ts";

const node = (name: string, texts: string, tunnel?: string): ReachableNode => ({
  name,
  addresses: texts.split(" ").map((text) => ({
    address: parseAddress(text.split("/")[0] ?? ""),
    subnet: parsePrefix(text, { mask: true }),
  })),
  ...(tunnel && { tunnels: { 4: { address: parseAddress(tunnel), mac: `66:00:00:00:00:0${name[1]}` } } }),
});
const nodes = [
  node("n1", "172.20.0.11/24 fd00:1::11/64", "10.0.0.1"),
  node("n2", "172.20.0.12/24 fd00:2::12/64", "10.0.1.1"),
  node("n3", "172.20.9.13/24", "10.0.2.1"),
  node("n4", "172.20.9.14/24"),
  node("n5", "fd00:1::15/64", "10.0.3.1"),
];
const pool = (vxlanMode: Pool["vxlanMode"]) => [
  { name: "p", cidr: parsePrefix("10.0.0.0/16"), natOutgoing: false, vxlanMode },
  { name: "p6", cidr: parsePrefix("fd00:10::/64"), natOutgoing: false, vxlanMode },
];
const vxlan = (via: string, address: string, mac: string) => ({
  ...{ way: "vxlan", daemon: "agent", via, tunnel: { address, mac } },
});
const bgp = { way: "bgp", daemon: "bgpd" };

test.each<[why: string, mode: Pool["vxlanMode"], owner: string, expected: object[]]>([
  ["own blocks are not remote", "Always", "n1", []],
  ["without encapsulation bgpd learns and writes the route", "Never", "n2", [bgp]],
  [
    "vxlanMode Always: the agent, to the owner's address and the far end's MAC",
    "Always",
    "n2",
    [vxlan("172.20.0.12", "10.0.1.1", "66:00:00:00:00:02")],
  ],
  [
    "CrossSubnet, same subnet: a plain route",
    "CrossSubnet",
    "n2",
    [{ way: "static", daemon: "agent", via: "172.20.0.12" }],
  ],
  [
    "CrossSubnet, across subnets: encapsulated",
    "CrossSubnet",
    "n3",
    [vxlan("172.20.9.13", "10.0.2.1", "66:00:00:00:00:03")],
  ],
  [
    "the owner's device is not there yet: BGP until then, and what was wanted",
    "Always",
    "n4",
    [{ ...bgp, wanted: "vxlan" }],
  ],
  ["an owner without an address of the family", "Always", "n5", [{ ...bgp, wanted: "vxlan" }]],
  ["an owner that is not known any more", "Never", "gone", [bgp]],
  ["the same, encapsulated", "Always", "gone", [{ ...bgp, wanted: "vxlan" }]],
])("%s", (_why, mode, owner, expected) => {
  expect(reached({ mode, owner, cidr: "10.0.1.0/26", programsPlain: false })).toEqual(expected);
});

test.each<[why: string, mode: Pool["vxlanMode"], owner: string, cidr: string, expected: object]>([
  [
    "the agent writes plain routes too: to neighbours",
    "Never",
    "n2",
    "10.0.1.0/26",
    { way: "static", daemon: "agent", via: "172.20.0.12" },
  ],
  ["between subnets only BGP's routers know them", "Never", "n3", "10.0.1.0/26", bgp],
  ["neighbours of the other family are none", "Never", "n2", "fd00:10::/122", bgp],
  [
    "encapsulation stays",
    "Always",
    "n2",
    "10.0.1.0/26",
    vxlan("172.20.0.12", "10.0.1.1", "66:00:00:00:00:02"),
  ],
])("programClusterRoutes: %s", (_why, mode, owner, cidr, expected) => {
  expect(reached({ mode, owner, cidr, programsPlain: true })).toEqual([expected]);
});

test("a node whose own device is not there yet encapsulates nothing", () => {
  const [reached] = reach({
    ...{ node: "n4", nodes, pools: pool("Always"), programsPlain: false },
    blocks: [{ cidr: parsePrefix("10.0.1.0/26"), node: "n2" }],
  });
  expect(reached).toMatchObject({ ...bgp, wanted: "vxlan" });
});

function reached(of: { mode: Pool["vxlanMode"]; owner: string; cidr: string; programsPlain: boolean }) {
  const blocks = [{ cidr: parsePrefix(of.cidr), node: of.owner }];
  const found = reach({ ...of, node: "n1", blocks, nodes, pools: pool(of.mode) });
  return found.map(({ block: _block, node: _node, via, tunnel, ...rest }) => ({
    ...rest,
    ...(via && { via: formatAddress(via) }),
    ...(tunnel && { tunnel: { ...tunnel, address: formatAddress(tunnel.address) } }),
  }));
}
