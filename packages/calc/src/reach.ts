import { type BlockAffinity, effective, type FelixConfiguration } from "@margay/api";
import {
  type Address,
  compareAddress,
  comparePrefix,
  contains,
  type Family,
  type Prefix,
  parsePrefix,
  width,
} from "@margay/net";
import type { Pool } from "./model.ts";

/** How packets get to a block of another node. */
export type Way = "bgp" | "static" | "vxlan";

/** Which daemon writes the kernel's route for each way: the two never write the same one. */
export const PROGRAMMED_BY = { bgp: "bgpd", static: "agent", vxlan: "agent" } as const satisfies Record<
  Way,
  "bgpd" | "agent"
>;

/** A block and the node it belongs to, or a lone address that a node's pod has of another node's block. */
export interface OwnedBlock {
  readonly cidr: Prefix;
  readonly node: string;
}

/** A node's own end of the VXLAN. */
export interface Tunnel {
  readonly address: Address;
  /** Of its device. */
  readonly mac: string;
}

export interface ReachableNode {
  readonly name: string;
  /** Its addresses with their subnets. */
  readonly addresses: readonly { readonly address: Address; readonly subnet: Prefix }[];
  /** Of each family, once its device is there. */
  readonly tunnels?: Readonly<Partial<Record<Family, Tunnel>>>;
}

export interface Terrain {
  /** The node whose view this is. */
  readonly node: string;
  readonly blocks: readonly OwnedBlock[];
  readonly nodes: readonly ReachableNode[];
  readonly pools: readonly Pool[];
  /** Whether its agent also writes the routes that need no encapsulation. */
  readonly programsPlain: boolean;
}

export interface Reached {
  readonly block: Prefix;
  readonly node: string;
  readonly way: Way;
  readonly daemon: "bgpd" | "agent";
  /** The owner's address of the block's family; absent with BGP, which brings its own next hop. */
  readonly via?: Address;
  /** Of the owner, when encapsulated. */
  readonly tunnel?: Tunnel;
  /** The way that is asked for, when it is not the one taken: it is not possible, or not yet. */
  readonly wanted?: Way;
}

/**
 * How every remote block is reached and which daemon writes the route (architecture.md, invariant 11). Both daemons
 * ask here, so no block is left without a route or given two. A route's encapsulation is chosen here alone, for each
 * destination from its pool and where its owner is.
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
  const { family } = block.cidr;
  const pool = terrain.pools.find(({ cidr }) => contains(cidr, block.cidr));
  const plain = terrain.programsPlain ? "static" : "bgp";
  const isNear = areNeighbours({ here, there, family });
  const wanted = WANTED[pool?.vxlanMode ?? "Never"]({ isNear, plain });
  const via = addressOf(there, family);
  const tunnel = here?.tunnels?.[family] && there?.tunnels?.[family];
  const isPossible = { bgp: true, static: via && isNear, vxlan: via && tunnel }[wanted];
  const way = isPossible ? wanted : "bgp";
  return {
    ...{ block: block.cidr, node: block.node, way, daemon: PROGRAMMED_BY[way] },
    ...(way !== "bgp" && via && { via }),
    ...(way === "vxlan" && tunnel && { tunnel }),
    ...(way !== wanted && { wanted }),
  };
}

interface Place {
  readonly isNear: boolean;
  /** What routes without encapsulation are. */
  readonly plain: "static" | "bgp";
}

/** What a pool's `vxlanMode` asks for (calico.md §1.2), by where the owner is. Between subnets only routers know plain routes. */
const WANTED: Readonly<Record<Pool["vxlanMode"], (place: Place) => Way>> = {
  Never: ({ isNear, plain }) => (isNear ? plain : "bgp"),
  Always: () => "vxlan",
  CrossSubnet: ({ isNear }) => (isNear ? "static" : "vxlan"),
};

interface Ends {
  readonly here: ReachableNode | undefined;
  readonly there: ReachableNode | undefined;
  readonly family: Family;
}

/** Whether one of this node's subnets of the family holds the other's address. */
function areNeighbours({ here, there, family }: Ends): boolean {
  const far = addressOf(there, family);
  return far !== undefined && (here?.addresses ?? []).some(({ subnet }) => contains(subnet, far));
}

/** Where a node is sent packets of a family: the lowest of its addresses, or none. */
export const addressOf = (node: ReachableNode | undefined, family: Family): Address | undefined =>
  (node?.addresses ?? [])
    .map(({ address }) => address)
    .filter((a) => a.family === family)
    .sort(compareAddress)[0];

/** Only a confirmed affinity means that the block is the node's; a lone address as block needs no confirmation. */
export const ownedBlocks = (affinities: readonly BlockAffinity[]): OwnedBlock[] =>
  affinities
    .map(({ spec }) => ({ node: spec.node, state: spec.state, cidr: parsePrefix(spec.cidr) }))
    .filter(({ state, cidr }) => state === "confirmed" || cidr.length === width(cidr.family))
    .map(({ cidr, node }) => ({ cidr, node }));

/** FelixConfiguration.programClusterRoutes of a node (calico.md §5.7): whether its agent writes routes without encapsulation. */
export function programsPlain(configurations: readonly FelixConfiguration[], node: string): boolean {
  const { programClusterRoutes } = effective("FelixConfiguration", configurations, node);
  return programClusterRoutes === "Enabled" || programClusterRoutes === "EnabledNoEncapOnly";
}
