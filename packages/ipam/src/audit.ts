import {
  type Address,
  comparePrefix,
  contains,
  formatAddress,
  formatPrefix,
  parsePrefix,
  prefixSize,
} from "@margay/net";
import {
  type Attributes,
  affinityOf,
  type Block,
  blockSize,
  freeCount,
  heldIn,
  ordinalOf,
  ownerOf,
} from "./block.ts";
import type { Pool } from "./pools.ts";

export interface BlockUsage {
  readonly cidr: string;
  /** The owner node, or "load-balancer"; absent when the block was given back with addresses still in use. */
  readonly node?: string;
  readonly size: number;
  readonly inUse: number;
}

/** An address in use, and by whom. */
export interface InUse {
  readonly address: string;
  readonly block: string;
  readonly handle: string;
  readonly sequence: number;
  readonly attributes: Attributes;
  /** The block's owner, when that is not the node that uses the address. */
  readonly borrowedFrom?: string;
}

export interface PoolUsage {
  readonly name: string;
  readonly cidr: string;
  /** Length of its blocks' prefixes. */
  readonly blockSize: number;
  readonly total: bigint;
  readonly inUse: number;
  readonly free: bigint;
  /** In address order. */
  readonly blocks: readonly BlockUsage[];
  readonly borrowed: readonly InUse[];
}

/** What `ipam show` prints: every pool with its blocks, and the blocks that lie in no pool. */
export function summarise(pools: readonly Pool[], blocks: readonly Block[]) {
  const sorted = [...blocks].sort((a, b) => comparePlace(a.cidr, b.cidr));
  const within = (pool: Pool) => sorted.filter(({ cidr }) => contains(pool.cidr, parsePrefix(cidr)));
  const placed = new Set(pools.flatMap(within));
  return {
    pools: pools.map((pool) => usageOf(pool, within(pool))),
    outside: sorted.filter((block) => !placed.has(block)).map(blockUsage),
  };
}

function usageOf(pool: Pool, blocks: readonly Block[]): PoolUsage {
  const inUse = blocks.reduce((sum, block) => sum + blockSize(block) - freeCount(block), 0);
  const total = prefixSize(pool.cidr);
  return {
    name: pool.name,
    cidr: formatPrefix(pool.cidr),
    blockSize: pool.blockSize,
    total,
    inUse,
    free: total - BigInt(inUse),
    blocks: blocks.map(blockUsage),
    borrowed: blocks.flatMap(addressesOf).filter(({ borrowedFrom }) => borrowedFrom !== undefined),
  };
}

const nodeOf = ({ affinity }: Block): string | undefined => affinity && ownerOf(affinity);

const blockUsage = (block: Block): BlockUsage => ({
  cidr: block.cidr,
  ...(block.affinity && { node: nodeOf(block) }),
  size: blockSize(block),
  inUse: blockSize(block) - freeCount(block),
});

/** Every address of a block in use. */
export const addressesOf = (block: Block): InUse[] =>
  heldIn(block).map(({ address }) => inUse(block, address));

/** Who has an address: for `ipam show --ip`. */
export function whoHas(blocks: readonly Block[], address: Address): InUse | undefined {
  const block = blocks.find(({ cidr }) => contains(parsePrefix(cidr), address));
  return block?.allocations[ordinalOf(block, address)] && inUse(block, address);
}

function inUse(block: Block, address: Address): InUse {
  const { handle, sequence, attributes } = block.allocations[ordinalOf(block, address)]!; // callers pass one in use
  const borrowed = attributes.node !== undefined && block.affinity !== affinityOf(attributes.node);
  return {
    ...{ address: formatAddress(address), block: block.cidr, handle, sequence, attributes },
    ...(borrowed && { borrowedFrom: nodeOf(block) ?? "no node" }),
  };
}

const comparePlace = (a: string, b: string): number => comparePrefix(parsePrefix(a), parsePrefix(b));
