/** Which remote blocks are reached by BGP: calc's reach() alone decides (architecture.md, invariant 11). Pure. */
import type { BlockAffinity, FelixConfiguration, IPPool, Node } from "@margay/api";
import { ownedBlocks, programsPlain, reach, readPool, readReachable } from "@margay/calc";
import { formatPrefix } from "@margay/net";

export interface ReachInputs {
  readonly node: string;
  readonly affinities: readonly BlockAffinity[];
  readonly nodes: readonly Node[];
  readonly pools: readonly IPPool[];
  readonly configurations: readonly FelixConfiguration[];
}

/** Blocks, by text, whose kernel routes the agent writes: BGP may announce them, and bgpd does not write them. */
export function leftToAgent(inputs: ReachInputs): ReadonlySet<string> {
  const { node, affinities, nodes, pools, configurations } = inputs;
  const reached = reach({
    ...{ node, blocks: ownedBlocks(affinities), programsPlain: programsPlain(configurations, node) },
    ...{ nodes: nodes.map(readReachable), pools: pools.map(readPool) },
  });
  return new Set(reached.filter(({ daemon }) => daemon === "agent").map(({ block }) => formatPrefix(block)));
}
