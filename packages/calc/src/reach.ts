import { type Address, compareAddress, comparePrefix, contains, type Prefix } from "@margay/net";
import type { Pool } from "./model.ts";

/** How packets get to a block of another node. */
export type Way = "bgp" | "static" | "vxlan";

/** Which daemon writes the kernel's route for each way: the two never write the same one. */
export const PROGRAMMED_BY = { bgp: "bgpd", static: "agent", vxlan: "agent" } as const satisfies Record<
  Way,
  "bgpd" | "agent"
>;

/** A block and the node it belongs to. */
export interface OwnedBlock {
  readonly cidr: Prefix;
  readonly node: string;
}

export interface ReachableNode {
  readonly name: string;
  /** Its addresses with their subnets. */
  readonly addresses: readonly { readonly address: Address; readonly subnet: Prefix }[];
}

export interface Terrain {
  /** The node whose view this is. */
  readonly node: string;
  readonly blocks: readonly OwnedBlock[];
  readonly nodes: readonly ReachableNode[];
  readonly pools: readonly Pool[];
  /** The ways that the daemons can program. Another one falls back to BGP, and says so. */
  readonly ways: ReadonlySet<Way>;
}

export interface Reached {
  readonly block: Prefix;
  readonly node: string;
  readonly way: Way;
  readonly daemon: "bgpd" | "agent";
  /** The owner's address of the block's family; absent if it has none, and with BGP, which brings its own next hop. */
  readonly via?: Address;
  /** The way that the pool asks for, when it is not the one taken. */
  readonly wanted?: Way;
}

/** BGP alone, so far. */
export const IMPLEMENTED_WAYS: ReadonlySet<Way> = new Set<Way>(["bgp"]);

/**
 * How every remote block is reached and which daemon writes the route (architecture.md, invariant 11). Both daemons
 * ask here, so no block is left without a route or given two.
 */
export function reach(terrain: Terrain): readonly Reached[] {
  const nodes = new Map(terrain.nodes.map((node) => [node.name, node]));
  const remote = terrain.blocks.filter(({ node }) => node !== terrain.node);
  return remote
    .toSorted((a, b) => comparePrefix(a.cidr, b.cidr))
    .map((block) => reachBlock(block, terrain, nodes));
}

function reachBlock(block: OwnedBlock, terrain: Terrain, nodes: ReadonlyMap<string, ReachableNode>): Reached {
  const [here, there] = [nodes.get(terrain.node), nodes.get(block.node)];
  const pool = terrain.pools.find(({ cidr }) => contains(cidr, block.cidr));
  const wanted =
    WANTED[pool?.vxlanMode ?? "Never"][areNeighbours(here, there) ? "sameSubnet" : "acrossSubnets"];
  const way = terrain.ways.has(wanted) ? wanted : "bgp";
  const via = way === "bgp" ? undefined : addressOf(there, block.cidr);
  return {
    block: block.cidr,
    node: block.node,
    way,
    daemon: PROGRAMMED_BY[way],
    ...(via && { via }),
    ...(way !== wanted && { wanted }),
  };
}

/** What a pool's `vxlanMode` asks for (calico.md §1.2), by where the owner is. */
const WANTED = {
  Never: { sameSubnet: "bgp", acrossSubnets: "bgp" },
  Always: { sameSubnet: "vxlan", acrossSubnets: "vxlan" },
  CrossSubnet: { sameSubnet: "static", acrossSubnets: "vxlan" },
} as const satisfies Record<Pool["vxlanMode"], Record<"sameSubnet" | "acrossSubnets", Way>>;

/** Whether one of this node's subnets holds an address of the other. */
function areNeighbours(here: ReachableNode | undefined, there: ReachableNode | undefined): boolean {
  return (here?.addresses ?? []).some(({ subnet }) =>
    (there?.addresses ?? []).some(({ address }) => contains(subnet, address)),
  );
}

const addressOf = (node: ReachableNode | undefined, { family }: Prefix): Address | undefined =>
  (node?.addresses ?? [])
    .map(({ address }) => address)
    .filter((a) => a.family === family)
    .sort(compareAddress)[0];
