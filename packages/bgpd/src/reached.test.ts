import { expect, test } from "@jest/globals";
import { type AnyResource, type BlockAffinity, type IPPool, type Node, parse } from "@margay/api";
import { IMPLEMENTED_WAYS, type Way } from "@margay/calc";
import { leftToAgent } from "./reached.ts";

const resource = <R extends AnyResource>(kind: R["kind"], name: string, spec: object): R =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource as R; // of this kind
const node = (name: string, ipv4Address: string) => resource<Node>("Node", name, { bgp: { ipv4Address } });
const affinity = (node: string, cidr: string) =>
  resource<BlockAffinity>("BlockAffinity", `${node}-${cidr.replace("/", "-")}`, {
    node,
    cidr,
    state: "confirmed",
  });

const nodes = [node("n1", "172.20.0.11/24"), node("n2", "172.20.0.12/24"), node("n3", "172.21.0.13/24")];
const affinities = [
  affinity("n1", "10.0.1.0/26"),
  affinity("n2", "10.0.2.0/26"),
  affinity("n3", "10.0.3.0/26"),
];
const pools = (vxlanMode: string) => [resource<IPPool>("IPPool", "p", { cidr: "10.0.0.0/16", vxlanMode })];
const every = new Set<Way>(["bgp", "static", "vxlan"]);

test.each<[why: string, mode: string, ways: ReadonlySet<Way>, left: readonly string[]]>([
  ["without encapsulation every route is bgpd's", "Never", every, []],
  [
    "with it every route is the agent's, but for the own block",
    "Always",
    every,
    ["10.0.2.0/26", "10.0.3.0/26"],
  ],
  ["what no daemon can program yet stays bgpd's: no block without a route", "Always", IMPLEMENTED_WAYS, []],
  ["only what can be programmed is left", "CrossSubnet", new Set<Way>(["bgp", "static"]), ["10.0.2.0/26"]],
])("%s", (_why, mode, ways, left) => {
  expect([...leftToAgent({ node: "n1", affinities, nodes, pools: pools(mode), ways })]).toEqual(left);
});
