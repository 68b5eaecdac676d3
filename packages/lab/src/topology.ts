import { type AnyResource, parse } from "@margay/api";
import { LabError } from "./errors.ts";
import { bare, type LabNode, NODE_AS, placeIn, TOR } from "./places.ts";

const FIRST_HOST = 11;
/** 172.20.0.11 to 172.20.0.254. */
const MAX_NODES = 244;

export interface Layout {
  readonly nodes: number;
  /** 0: full mesh. Otherwise the mesh is off and nodes 1 to this many reflect. */
  readonly routeReflectors: number;
  /** Overrides of the default IPv4 pool's spec, for small pools in tests. */
  readonly pool?: { readonly cidr?: string; readonly blockSize?: number };
  /** vxlanMode of both pools; Never when absent. */
  readonly vxlan?: Encapsulation;
  /** Nodes go to them in turn; one when absent. */
  readonly subnets?: number;
  /** Without BGP no node runs bgpd and the agents write the routes; true when absent. */
  readonly bgp?: boolean;
}

export const ENCAPSULATIONS = ["Never", "Always", "CrossSubnet"] as const;
export type Encapsulation = (typeof ENCAPSULATIONS)[number];
const MAX_SUBNETS = 10;

export interface Topology {
  readonly nodes: readonly LabNode[];
  /** What the datastore holds before the first daemon starts. */
  readonly resources: readonly AnyResource[];
}

/** The lab's nodes and the resources that describe them. Pure. LabError "invalid" when the layout is impossible. */
export function topology(layout: Layout): Topology {
  const { nodes: count, routeReflectors, subnets = 1, bgp = true } = layout;
  if (!Number.isInteger(count) || count < 1 || count > MAX_NODES)
    throw new LabError("invalid", `nodes: 1 to ${MAX_NODES}, not ${count}`);
  if (!Number.isInteger(routeReflectors) || routeReflectors < 0 || routeReflectors > count) {
    throw new LabError(
      "invalid",
      `route reflectors: 0 to ${count} (the nodes there are), not ${routeReflectors}`,
    );
  }
  if (!Number.isInteger(subnets) || subnets < 1 || subnets > MAX_SUBNETS)
    throw new LabError("invalid", `subnets: 1 to ${MAX_SUBNETS}, not ${subnets}`);
  const nodes = Array.from({ length: count }, (_, index) =>
    labNode(index, { reflector: index < routeReflectors, subnets }),
  );
  const documents = [
    ...pools(layout),
    bgpConfiguration(routeReflectors === 0),
    ...(bgp ? [] : [document("FelixConfiguration", "default", { programClusterRoutes: "Enabled" })]),
    ...Array.from({ length: subnets }, (_, subnet) => torPeer(subnet, subnets)),
    ...(routeReflectors > 0 ? [reflectorPeer()] : []),
    ...nodes.map(nodeDocument),
  ];
  return { nodes, resources: documents.map((document) => parse(document, "lab").resource) };
}

function labNode(index: number, { reflector, subnets }: { reflector: boolean; subnets: number }): LabNode {
  const subnet = index % subnets;
  const place = placeIn(subnet, FIRST_HOST + index);
  return { name: `n${index + 1}`, ...place, reflector, ...(subnets > 1 && { subnet }) };
}

const document = (kind: string, name: string, spec: object, labels?: Record<string, string>) => ({
  apiVersion: "margay.dev/v1",
  kind,
  metadata: { name, ...(labels && { labels }) },
  spec,
});

function pools({ pool, vxlan }: Layout) {
  const both = { natOutgoing: true, ...(vxlan && { vxlanMode: vxlan }) };
  return [
    document("IPPool", "default-ipv4", { cidr: "10.244.0.0/16", blockSize: 26, ...both, ...pool }),
    document("IPPool", "default-ipv6", { cidr: "fd00:10:244::/56", blockSize: 122, ...both }),
  ];
}

const bgpConfiguration = (mesh: boolean) =>
  document("BGPConfiguration", "default", { asNumber: NODE_AS, nodeToNodeMeshEnabled: mesh });

const SUBNET = "lab.margay.dev/subnet";

/** The ToR has an address in each subnet: a session over a router would need more hops than eBGP allows. */
function torPeer(subnet: number, subnets: number) {
  const peer = { peerIP: bare(placeIn(subnet, 2).ipv4), asNumber: TOR.as };
  const nodes = subnets === 1 ? {} : { nodeSelector: `${SUBNET} == "${subnet}"` };
  return document("BGPPeer", subnet === 0 ? "tor" : `tor-${subnet}`, { ...peer, ...nodes });
}

const REFLECTOR = "lab.margay.dev/route-reflector";
/** The reflectors of one cluster; two of them make two paths, RFC 4456 §7. */
const CLUSTER_ID = "244.0.0.1";

/** Every node with every reflector; the other end of each session is made by itself. Reflectors peer with each other too. */
const reflectorPeer = () =>
  document("BGPPeer", "reflectors", { nodeSelector: "all()", peerSelector: `has(${REFLECTOR})` });

function nodeDocument({ name, ipv4, ipv6, reflector, subnet }: LabNode) {
  const bgp = {
    ipv4Address: ipv4,
    ipv6Address: ipv6,
    ...(reflector && { routeReflectorClusterID: CLUSTER_ID }),
  };
  const labels = {
    "kubernetes.io/hostname": name,
    ...(reflector && { [REFLECTOR]: "true" }),
    ...(subnet !== undefined && { [SUBNET]: `${subnet}` }),
  };
  return document("Node", name, { bgp }, labels);
}
