import type { IPAMBlock } from "@margay/api";
import {
  type Address,
  compareAddress,
  formatPrefix,
  offset,
  type Prefix,
  parsePrefix,
  prefixSize,
} from "@margay/net";
import { oncePer } from "@margay/reconcile";
import { cooling, type Freeing, remember } from "./journal.ts";

/**
 * A block: an aligned CIDR inside one pool, and the whole truth about its addresses. Ordinal n is the
 * n-th address; first and last are used too. Ordinals are given in the order never-used (ascending),
 * then freed longest ago: `unallocated` holds the freed ones only, so that a fresh /20 is a short value.
 * `released` is the block's journal: who was the last to hold an address, until when, and why it was freed.
 */
export type Block = IPAMBlock["spec"];
export type Allocation = Block["allocations"][string];
export type Attributes = Allocation["attributes"];

/** Who wants an address. `handle` names the owner (one pod sandbox); it is how the address is found again. */
export interface Owner {
  readonly handle: string;
  readonly attributes: Attributes;
}

/** What an address is given out under. */
export interface Terms {
  readonly now: Date;
  /** A freed address rests so long. */
  readonly cooldownSeconds: number;
  /** Reserved addresses, and the host's own: never given unasked. */
  readonly barred: (ordinal: number) => boolean;
}

/** An address and the sequence number that guards its release. */
export interface Held {
  readonly address: Address;
  readonly sequence: number;
  readonly handle: string;
}

export const affinityOf = (node: string): string => `host:${node}`;
/** Of blocks that no node has: load balancers' (calico.md §2.6). */
export const LOAD_BALANCER = "virtual:load-balancer";
/** The node of an affinity; undefined when it is not a node's. */
export const nodeOf = (affinity: string): string | undefined =>
  affinity.startsWith("host:") ? affinity.slice("host:".length) : undefined;
/** An affinity for people: the node, or what else has the block. */
export const ownerOf = (affinity: string): string => affinity.replace(/^(host|virtual):/, "");

/** Its CIDR. A block is a value: what is said of it is worked out once. */
export const prefixOfBlock = oncePer((block: Block): Prefix => parsePrefix(block.cidr));

/** How many addresses the block has: 2^12 at most, by the pool's blockSize bounds. */
export const blockSize = (block: Block): number => Number(prefixSize(prefixOfBlock(block)));

/** How many addresses are given out. */
export const usedIn = (block: Block): number => ordinals(block).length;

/** How many addresses are free. */
export const freeCount = (block: Block): number => blockSize(block) - usedIn(block);

export const isEmpty = (block: Block): boolean => usedIn(block) === 0;

/**
 * A fresh block of `node`. The sequence number starts at the claim's time in microseconds, so that a
 * block deleted and made again never repeats a number that a late release may still carry.
 */
export function newBlock(cidr: Prefix, node: string, now: Date): Block {
  return {
    cidr: formatPrefix(cidr),
    affinity: affinityOf(node),
    affinityClaimTime: now.toISOString(),
    sequenceNumber: now.getTime() * 1000,
    allocations: {},
    unallocated: [],
  };
}

/** The block with one more address given to `owner`, or undefined when it has none to give. */
export function assign(block: Block, owner: Owner, terms: Terms): { block: Block; held: Held } | undefined {
  const ordinal = neverUsed(block, terms) ?? rested(block, terms);
  return ordinal === undefined ? undefined : give(block, ordinal, owner);
}

/** The block with this very address given to `owner`, or who has it already. */
export function claim(
  block: Block,
  address: Address,
  owner: Owner,
): { block: Block; held: Held } | { takenBy: Allocation } {
  const ordinal = ordinalOf(block, address);
  const taken = block.allocations[ordinal];
  return taken ? { takenBy: taken } : give(block, ordinal, owner);
}

/** The block without the allocations that `which` picks, and what was released; the same block if none. */
export function release(
  block: Block,
  which: (allocation: Allocation, ordinal: number) => boolean,
  freeing: Freeing,
): { block: Block; released: Held[] } {
  const freed = ordinals(block).filter((n) => which(block.allocations[n]!, n)); // n is a key of it
  if (freed.length === 0) return { block, released: [] };
  const gone = new Set(freed.map(String));
  const allocations = Object.fromEntries(Object.entries(block.allocations).filter(([n]) => !gone.has(n)));
  const after: Block = {
    ...block,
    allocations,
    unallocated: [...block.unallocated, ...freed],
    sequenceNumber: block.sequenceNumber + 1,
    released: remember(block, freed, freeing),
  };
  return { block: after, released: freed.map((n) => heldAt(block, n)) };
}

/** The block with no owner node: what is allocated stays, nothing routes it as a whole any more. */
export function disown(block: Block): Block {
  const { affinity: _gone, ...rest } = block;
  return { ...rest, sequenceNumber: block.sequenceNumber + 1 };
}

/** What `handle` holds in this block, in address order. */
export const heldBy = (block: Block, handle: string): Held[] =>
  (byHandle(block).get(handle) ?? [])
    .map((n) => heldAt(block, n))
    .sort((a, b) => compareAddress(a.address, b.address));

const byHandle = oncePer(
  (block: Block): ReadonlyMap<string | undefined, readonly number[]> =>
    Map.groupBy(ordinals(block), (n) => block.allocations[n]?.handle),
);

/** Every address of the block that is given out, in address order. */
export const heldIn = (block: Block): Held[] => ordinals(block).map((n) => heldAt(block, n));

/** The address's place in the block; the caller knows that the block contains it. */
export const ordinalOf = (block: Block, address: Address): number =>
  Number(address.bits - prefixOfBlock(block).bits);

function give(block: Block, ordinal: number, { handle, attributes }: Owner): { block: Block; held: Held } {
  const sequence = block.sequenceNumber + 1;
  const after: Block = {
    ...block,
    sequenceNumber: sequence,
    allocations: { ...block.allocations, [ordinal]: { handle, sequence, attributes } },
    unallocated: block.unallocated.filter((n) => n !== ordinal),
  };
  return { block: after, held: heldAt(after, ordinal) };
}

function neverUsed(block: Block, { barred }: Terms): number | undefined {
  const freed = new Set(block.unallocated);
  const size = blockSize(block);
  for (let n = 0; n < size; n++)
    if (!freed.has(n) && block.allocations[n] === undefined && !barred(n)) return n;
  return undefined;
}

/** The one that has been free the longest, if it has rested long enough. */
function rested(block: Block, terms: Terms): number | undefined {
  const cold = cooling(block, terms);
  return block.unallocated.find((n) => !terms.barred(n) && !cold.has(n));
}

const ordinals = oncePer((block: Block): readonly number[] => Object.keys(block.allocations).map(Number));

function heldAt(block: Block, ordinal: number): Held {
  const { handle, sequence } = block.allocations[ordinal]!; // callers pass an allocated ordinal
  return { address: offset(prefixOfBlock(block), ordinal), sequence, handle };
}
