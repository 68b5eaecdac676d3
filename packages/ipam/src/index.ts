export { releaseAffinity, type Site } from "./affinity.ts";
export * from "./audit.ts";
export {
  type Allocation,
  type Attributes,
  affinityOf,
  type Block,
  blockSize,
  freeCount,
  type Held,
  heldBy,
  heldIn,
  newBlock,
} from "./block.ts";
export { IpamError, type IpamFailure } from "./errors.ts";
export { type Assignment, Ipam, type IpamOptions, type Released } from "./ipam.ts";
export { type Pool, parsePools } from "./pools.ts";
export type { AssignRequest } from "./search.ts";
export { BlockCache, type BlockSummary, type BlockView, type Versioned } from "./view.ts";
