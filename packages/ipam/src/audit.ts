import type { BlockAffinity } from "@margay/api";
import {
  type Address,
  comparePrefix,
  contains,
  formatAddress,
  formatPrefix,
  parsePrefix,
  prefixSize,
} from "@margay/net";
import { type Attributes, affinityOf, type Block, blockSize, freeCount, heldIn, ordinalOf } from "./block.ts";
import type { Pool } from "./pools.ts";

export interface BlockUsage {
  readonly cidr: string;
  /** The owner node; absent when the block was given back with addresses still in use. */
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
    total,
    inUse,
    free: total - BigInt(inUse),
    blocks: blocks.map(blockUsage),
    borrowed: blocks.flatMap(addressesOf).filter(({ borrowedFrom }) => borrowedFrom !== undefined),
  };
}

const nodeOf = (block: Block): string | undefined => block.affinity?.replace(/^host:/, "");

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

/** What `ipam check` finds. Nothing here loses traffic by itself; each says where to look. */
export type Problem =
  | { readonly code: "block-outside-pools"; readonly cidr: string }
  | {
      readonly code: "affinity-unsettled";
      readonly cidr: string;
      readonly node: string;
      readonly state: string;
    }
  | { readonly code: "affinity-without-block"; readonly cidr: string; readonly node: string }
  | { readonly code: "block-without-affinity"; readonly cidr: string; readonly node: string }
  | ({ readonly code: "leaked" } & InUse)
  | { readonly code: "unallocated-in-use"; readonly address: string; readonly endpoint: string };

export interface AuditInput {
  readonly pools: readonly Pool[];
  readonly blocks: readonly Block[];
  readonly affinities: readonly BlockAffinity["spec"][];
  /** Addresses that workload endpoints have now, to the endpoint's name. */
  readonly endpoints: ReadonlyMap<string, string>;
}

/** Compares blocks, affinities and endpoints with each other. */
export function audit({ pools, blocks, affinities, endpoints }: AuditInput): Problem[] {
  const used = blocks.flatMap(addressesOf);
  const allocated = new Set(used.map(({ address }) => address));
  return [
    ...summarise(pools, blocks).outside.map(({ cidr }) => ({ code: "block-outside-pools" as const, cidr })),
    ...affinities.flatMap((affinity) => affinityProblem(affinity, blocks)),
    ...blocks.flatMap((block) => ownerProblem(block, affinities)),
    ...used
      .filter(({ address }) => !endpoints.has(address))
      .map((leak) => ({ code: "leaked" as const, ...leak })),
    ...[...endpoints]
      .filter(([address]) => !allocated.has(address))
      .map(([address, endpoint]) => ({ code: "unallocated-in-use" as const, address, endpoint })),
  ];
}

function affinityProblem({ cidr, node, state }: BlockAffinity["spec"], blocks: readonly Block[]): Problem[] {
  if (state !== "confirmed") return [{ code: "affinity-unsettled", cidr, node, state }];
  const agrees = blocks.some((block) => block.cidr === cidr && block.affinity === affinityOf(node));
  return agrees ? [] : [{ code: "affinity-without-block", cidr, node }];
}

function ownerProblem(block: Block, affinities: readonly BlockAffinity["spec"][]): Problem[] {
  const node = nodeOf(block);
  if (node === undefined || affinities.some((a) => a.cidr === block.cidr && a.node === node)) return [];
  return [{ code: "block-without-affinity", cidr: block.cidr, node }];
}

const comparePlace = (a: string, b: string): number => comparePrefix(parsePrefix(a), parsePrefix(b));
