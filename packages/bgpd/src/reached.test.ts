import { expect, test } from "@jest/globals";
import {
  type AnyResource,
  type BlockAffinity,
  type FelixConfiguration,
  type IPPool,
  type Node,
  parse,
} from "@margay/api";
import { leftToAgent } from "./reached.ts";

const resource = <R extends AnyResource>(kind: R["kind"], name: string, spec: object): R =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource as R; // of this kind
const node = (name: string, ipv4Address: string, ipv4VXLANTunnelAddr: string) =>
  resource<Node>("Node", name, {
    ...{ bgp: { ipv4Address }, ipv4VXLANTunnelAddr, vxlanTunnelMACAddr: "66:00:00:00:00:01" },
  });
const affinity = (node: string, cidr: string) =>
  resource<BlockAffinity>("BlockAffinity", `${node}-${cidr.replace("/", "-")}`, {
    node,
    cidr,
    state: "confirmed",
  });

const nodes = [
  node("n1", "172.20.0.11/24", "10.0.1.1"),
  node("n2", "172.20.0.12/24", "10.0.2.1"),
  node("n3", "172.21.0.13/24", "10.0.3.1"),
];
const affinities = [
  affinity("n1", "10.0.1.0/26"),
  affinity("n2", "10.0.2.0/26"),
  affinity("n3", "10.0.3.0/26"),
];
const pools = (vxlanMode: string) => [resource<IPPool>("IPPool", "p", { cidr: "10.0.0.0/16", vxlanMode })];
const plain = (programClusterRoutes: string) => [
  resource<FelixConfiguration>("FelixConfiguration", "default", { programClusterRoutes }),
];

test.each<[why: string, mode: string, programClusterRoutes: string, left: readonly string[]]>([
  ["without encapsulation every route is bgpd's", "Never", "Disabled", []],
  [
    "with it every route but the own block's is the agent's",
    "Always",
    "Disabled",
    ["10.0.2.0/26", "10.0.3.0/26"],
  ],
  ["CrossSubnet: both kinds are the agent's", "CrossSubnet", "Disabled", ["10.0.2.0/26", "10.0.3.0/26"]],
  ["plain routes within the subnet can be given to it", "Never", "EnabledNoEncapOnly", ["10.0.2.0/26"]],
])("%s", (_why, mode, programClusterRoutes, left) => {
  const configurations = plain(programClusterRoutes);
  expect([...leftToAgent({ node: "n1", affinities, nodes, pools: pools(mode), configurations })]).toEqual(
    left,
  );
});
