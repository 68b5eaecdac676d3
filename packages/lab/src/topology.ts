import { type AnyResource, parse } from "@margay/api";
import { LabError } from "./errors.ts";
import { bare, type LabNode, NODE_AS, TOR } from "./places.ts";

const FIRST_HOST = 11;
/** 172.20.0.11 to 172.20.0.254. */
export const MAX_NODES = 244;

export interface Layout {
  readonly nodes: number;
  /** 0: full mesh. Otherwise the mesh is off and nodes 1 to this many reflect. */
  readonly routeReflectors: number;
  /** Overrides of the default IPv4 pool's spec, for small pools in tests. */
  readonly pool?: { readonly cidr?: string; readonly blockSize?: number };
}

export interface Topology {
  readonly nodes: readonly LabNode[];
  /** What the datastore holds before the first daemon starts. */
  readonly resources: readonly AnyResource[];
}

/** The lab's nodes and the resources that describe them. Pure. LabError "invalid" when the layout is impossible. */
export function topology(layout: Layout): Topology {
  const { nodes: count, routeReflectors, pool } = layout;
  if (!Number.isInteger(count) || count < 1 || count > MAX_NODES)
    throw new LabError("invalid", `nodes: 1 to ${MAX_NODES}, not ${count}`);
  if (!Number.isInteger(routeReflectors) || routeReflectors < 0 || routeReflectors > count) {
    throw new LabError(
      "invalid",
      `route reflectors: 0 to ${count} (the nodes there are), not ${routeReflectors}`,
    );
  }
  const nodes = Array.from({ length: count }, (_, index) => labNode(index, index < routeReflectors));
  const documents = [
    ...pools(pool),
    bgpConfiguration(routeReflectors === 0),
    torPeer(),
    ...(routeReflectors > 0 ? [reflectorPeer()] : []),
    ...nodes.map(nodeDocument),
  ];
  return { nodes, resources: documents.map((document) => parse(document, "lab").resource) };
}

function labNode(index: number, reflector: boolean): LabNode {
  const host = FIRST_HOST + index;
  return { name: `n${index + 1}`, ipv4: `172.20.0.${host}/24`, ipv6: `fd00:172:20::${host}/64`, reflector };
}

const document = (kind: string, name: string, spec: object, labels?: Record<string, string>) => ({
  apiVersion: "margay.dev/v1",
  kind,
  metadata: { name, ...(labels && { labels }) },
  spec,
});

const pools = (ipv4: Layout["pool"]) => [
  document("IPPool", "default-ipv4", { cidr: "10.244.0.0/16", blockSize: 26, natOutgoing: true, ...ipv4 }),
  document("IPPool", "default-ipv6", { cidr: "fd00:10:244::/56", blockSize: 122, natOutgoing: true }),
];

const bgpConfiguration = (mesh: boolean) =>
  document("BGPConfiguration", "default", { asNumber: NODE_AS, nodeToNodeMeshEnabled: mesh });

const torPeer = () => document("BGPPeer", "tor", { peerIP: bare(TOR.ipv4), asNumber: TOR.as });

const REFLECTOR = "lab.margay.dev/route-reflector";
/** The reflectors of one cluster; two of them make two paths, RFC 4456 §7. */
const CLUSTER_ID = "244.0.0.1";

/** Every node with every reflector; the other end of each session is made by itself. Reflectors peer with each other too. */
const reflectorPeer = () =>
  document("BGPPeer", "reflectors", { nodeSelector: "all()", peerSelector: `has(${REFLECTOR})` });

function nodeDocument({ name, ipv4, ipv6, reflector }: LabNode) {
  const bgp = {
    ipv4Address: ipv4,
    ipv6Address: ipv6,
    ...(reflector && { routeReflectorClusterID: CLUSTER_ID }),
  };
  const labels = { "kubernetes.io/hostname": name, ...(reflector && { [REFLECTOR]: "true" }) };
  return document("Node", name, { bgp }, labels);
}
