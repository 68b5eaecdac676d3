/** Which remote blocks are reached by BGP: calc's reach() alone decides (architecture.md, invariant 11). Pure. */
import type { BlockAffinity, IPPool, Node } from "@margay/api";
import { reach, readPool, readReachable, type Way } from "@margay/calc";
import { formatPrefix } from "@margay/net";
import { confirmedBlocks } from "./originate.ts";

export interface ReachInputs {
  readonly node: string;
  readonly affinities: readonly BlockAffinity[];
  readonly nodes: readonly Node[];
  readonly pools: readonly IPPool[];
  /** What the daemons of this version can program. */
  readonly ways: ReadonlySet<Way>;
}

/** Blocks, by text, whose kernel routes the agent writes: BGP may announce them, and bgpd does not write them. */
export function leftToAgent({ node, affinities, nodes, pools, ways }: ReachInputs): ReadonlySet<string> {
  const reached = reach({
    ...{ node, ways, blocks: confirmedBlocks(affinities) },
    ...{ nodes: nodes.map(readReachable), pools: pools.map(readPool) },
  });
  return new Set(reached.filter(({ daemon }) => daemon === "agent").map(({ block }) => formatPrefix(block)));
}
