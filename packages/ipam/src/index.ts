export { releaseAffinity, type Site } from "./affinity.ts";
export * from "./audit.ts";
export {
  type Allocation,
  type Attributes,
  affinityOf,
  type Block,
  blockSize,
  claim,
  freeCount,
  type Held,
  heldBy,
  heldIn,
  isEmpty,
  LOAD_BALANCER,
  newBlock,
  nodeOf,
  ordinalOf,
  ownerOf,
  release,
} from "./block.ts";
export { IpamError, type IpamFailure } from "./errors.ts";
export { type IpamEvent, limitRatio } from "./events.ts";
export { formerBlocks } from "./former.ts";
export * from "./garbage.ts";
export * from "./invariants.ts";
export { type Assignment, Ipam, type Released } from "./ipam.ts";
export type { Along } from "./joint.ts";
export type { Freed } from "./journal.ts";
export { type Cluster, deleteNode, releaseFound } from "./node.ts";
export type { IpamOptions } from "./options.ts";
export type { Sequenced } from "./plan.ts";
export { type Pool, parsePools, rivalsOf, type Use } from "./pools.ts";
export { BlockCache, type BlockSummary, type BlockView, type Borrowed, type Versioned } from "./view.ts";
export type { AssignRequest, Surroundings } from "./world.ts";
