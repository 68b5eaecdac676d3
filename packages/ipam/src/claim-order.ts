import { contains, type Prefix, prefixSize } from "@margay/net";
import { blocksIn, type Pool } from "./pools.ts";

/** What the order depends on besides the pool. */
export interface Claimant {
  readonly node: string;
  /** Every node that has a rack label, to its rack. Nodes without one claim anywhere. */
  readonly racks: ReadonlyMap<string, string>;
  readonly reserved: readonly Prefix[];
  /** Owners of the pool's existing blocks, by the block's index in the pool; undefined: no owner. */
  readonly owners: ReadonlyMap<bigint, string | undefined>;
}

/**
 * The pool's blocks in the order in which a node tries them; those that exist are among them, those wholly
 * reserved are not. Some may come twice.
 *
 * A node with a rack label goes through its rack's ground first, a run of blocks as long as the largest rack:
 *
 *     rack A                     room to grow     rack B
 *     |n1 n2 n3 n4 -- -- -- --|  |           |    |n5 n6 -- -- -- -- -- --|
 *
 * Its first block is the one at its own place among the rack's nodes, so that a rack that boots at once does
 * not fight over one block; later ones are the lowest free. When the ground is full the nearest free one is
 * taken, its buddy first. Thus a rack's blocks stay few aggregates. A rack without blocks begins at its place
 * among the racks' names if nobody is near, else where there is most room: racks that join one by one keep apart, too,
 * and their grounds grow where they are. Everybody else begins at a place that the
 * node's name decides: two nodes rarely try the same.
 */
export function* claimOrder(pool: Pool, claimant: Claimant): Generator<Prefix> {
  const rack = claimant.racks.get(claimant.node);
  if (rack !== undefined)
    for (const index of rackOrder(pool, claimant, rack)) {
      const cidr = blockAt(pool, index);
      if (!claimant.reserved.some((one) => contains(one, cidr))) yield cidr;
    }
  yield* scattered(pool, claimant);
}

/** Grounds looked at beyond those in use before the node claims anywhere: each of them must be wholly reserved. */
const SPARE = 1024n;

function* rackOrder(pool: Pool, { node, racks, owners }: Claimant, rack: string): Generator<bigint> {
  const size = groundSize(pool, racks);
  const grounds = blocksIn(pool) / size;
  const taken = occupants([...owners], { racks, size });
  const ours = [...taken].filter(([, by]) => by.has(rack)).map(([ground]) => ground);
  const mine = ours.sort((a, b) => (a < b ? -1 : 1));
  const home = mine[0] ?? newHome(rack, { racks, grounds, taken: [...taken.keys()] });
  if (![...owners.values()].includes(node)) yield home * size + (BigInt(rankOf(node, rack, racks)) % size);
  for (const ground of mine) yield* span(ground, size);
  const most = BigInt(taken.size) + SPARE;
  for (let i = 0n; i < grounds && i < most; i++) {
    const ground = home ^ i; // the buddy, then the buddy's neighbours, ...
    if (ground < grounds && !taken.has(ground)) yield* span(ground, size);
  }
}

/** Blocks in a rack's ground: as many as the largest rack has nodes, less when the pool has not so many for each. */
function groundSize(pool: Pool, racks: ReadonlyMap<string, string>): bigint {
  const sizes = new Map<string, number>();
  for (const rack of racks.values()) sizes.set(rack, (sizes.get(rack) ?? 0) + 1);
  const wanted = powerOfTwo(Math.max(...sizes.values()));
  const room = blocksIn(pool) / powerOfTwo(sizes.size);
  if (wanted <= room) return wanted;
  return room < 1n ? 1n : room;
}

/** The least power of two that is not less; a pool's number of blocks is one, too. */
const powerOfTwo = (n: number): bigint => 1n << BigInt(Math.ceil(Math.log2(n)));

/** Which racks have blocks in each ground; "" is whoever has none. */
function occupants(
  owners: readonly (readonly [bigint, string | undefined])[],
  { racks, size }: { racks: ReadonlyMap<string, string>; size: bigint },
): Map<bigint, Set<string>> {
  const taken = new Map<bigint, Set<string>>();
  for (const [index, owner] of owners) {
    const ground = index / size;
    const by = taken.get(ground) ?? new Set();
    taken.set(ground, by.add((owner !== undefined && racks.get(owner)) || ""));
  }
  return taken;
}

/** Racks begin as far from each other as the pool allows: by their names, or where there is most room. */
function newHome(
  rack: string,
  {
    racks,
    grounds,
    taken,
  }: { racks: ReadonlyMap<string, string>; grounds: bigint; taken: readonly bigint[] },
): bigint {
  const names = [...new Set(racks.values())].sort();
  const stride = grounds / powerOfTwo(names.length) || 1n;
  const home = (BigInt(names.indexOf(rack)) * stride) % grounds;
  const isFree = !taken.some((ground) => ground / stride === home / stride);
  return isFree ? home : (roomiest({ first: 0n, size: grounds }, taken)?.first ?? home);
}

interface Room {
  readonly first: bigint;
  /** A power of two. */
  readonly size: bigint;
}

/** The largest aligned part of a room in which nothing is taken, the lowest of equals. */
function roomiest({ first, size }: Room, taken: readonly bigint[]): Room | undefined {
  const inside = taken.filter((one) => one >= first && one < first + size);
  if (inside.length === 0) return { first, size };
  if (size === 1n) return undefined;
  const half = size / 2n;
  const [low, high] = [first, first + half].map((at) => roomiest({ first: at, size: half }, inside));
  return high && high.size > (low?.size ?? 0n) ? high : low;
}

const rankOf = (node: string, rack: string, racks: ReadonlyMap<string, string>): number =>
  [...racks].filter(([name, of]) => of === rack && name < node).length;

function* span(ground: bigint, size: bigint): Generator<bigint> {
  for (let i = 0n; i < size; i++) yield ground * size + i;
}

/** Once round the pool; what is reserved is jumped over, not walked through. */
function* scattered(pool: Pool, { node, reserved }: Claimant): Generator<Prefix> {
  const count = blocksIn(pool);
  const start = fnv1a64(node) % count;
  for (let i = 0n; i < count; i++) {
    const index = (start + i) % count;
    const cidr = blockAt(pool, index);
    const over = reserved.find((one) => contains(one, cidr));
    if (!over) yield cidr;
    else {
      const last = indexOf(pool, { ...over, bits: over.bits + prefixSize(over) - 1n });
      i += (last < count ? last : count - 1n) - index; // of one that reaches beyond the pool, only what is inside
    }
  }
}

/** The block's place in the pool. */
export const indexOf = (pool: Pool, cidr: Prefix): bigint => (cidr.bits - pool.cidr.bits) / sizeOf(pool);

const blockAt = (pool: Pool, index: bigint): Prefix => ({
  family: pool.cidr.family,
  bits: pool.cidr.bits + index * sizeOf(pool),
  length: pool.blockSize,
});

const sizeOf = (pool: Pool): bigint => prefixSize({ ...pool.cidr, length: pool.blockSize });

/** FNV-1a, 64 bits, with a final mix: names that differ in the last digit land far apart. */
function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const char of text)
    hash = BigInt.asUintN(64, (hash ^ BigInt(char.codePointAt(0) ?? 0)) * 0x100000001b3n);
  hash = BigInt.asUintN(64, (hash ^ (hash >> 33n)) * 0xff51afd7ed558ccdn);
  return hash ^ (hash >> 33n);
}

/** A number below `count` that differs between nodes. */
export const spread = (seed: string, count: number): number => Number(fnv1a64(seed) % BigInt(count));
