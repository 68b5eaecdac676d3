import {
  type Address,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  offset,
  overlaps,
  type Prefix,
  prefixOf,
} from "@margay/net";
import {
  affinityOf,
  type Block,
  blockSize,
  freeCount,
  assign as give,
  type Held,
  heldBy,
  newBlock,
  nodeOf,
  ownerOf,
  prefixOfBlock,
  type Terms,
  claim as take,
  usedIn,
} from "./block.ts";
import { claimOrder, indexOf, spread } from "./claim-order.ts";
import type { Draft } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { blocksIn, type Pool, poolOf, rivalsOf, selectPools } from "./pools.ts";
import { isToBeHad } from "./take-empty.ts";
import type { AssignRequest, World } from "./world.ts";

/** A grant of one address in one block, or the block to read first. */
type Grant = Granted | { readonly read: string };

export interface Granted {
  readonly cidr: string;
  readonly held: Held;
  /** False when the handle had it already. */
  readonly fresh: boolean;
}

type One = AssignRequest & { readonly family: Family };

/**
 * Finds one address and puts its block into the draft: what the handle has; else the address it asks for;
 * else own block with room, a new block, a borrowed address. Throws IpamError when there is none, or the handle has another
 * than it asks for: one of a family is all that it gets, and a living container keeps it.
 */
export function assignOne(world: World, draft: Draft, request: One): Grant {
  const wanted = request.addresses?.find((address) => address.family === request.family);
  const had = alreadyHeld(world, draft, { ...request, wanted });
  if (had) return had;
  if (wanted) return assignExplicit(world, draft, { ...request, wanted });
  const { family, use = "Workload" } = request;
  const named = request.pools?.[family];
  const { namespace: name } = request.attributes;
  const pools = selectPools(world.pools, {
    ...{ node: world.node, labels: world.labels, family, named, use },
    ...(name !== undefined && { namespace: world.namespaceLabels(name) }),
  });
  return (
    fromOwn(world, draft, { request, pools }) ??
    fromNew(world, draft, { request, pools }) ??
    borrow(world, draft, { request, pools }) ??
    exhausted(world, draft, pools)
  );
}

/** What the handle has of the family: what it asks for, if it has that. */
function alreadyHeld(
  world: World,
  draft: Draft,
  { handle, family, wanted }: One & { wanted?: Address | undefined },
): Granted | undefined {
  const all = [...draft.blocks()].flatMap((block) =>
    heldBy(block, handle)
      .filter(({ address }) => address.family === family)
      .map((held) => ({ cidr: block.cidr, held, fresh: false })),
  );
  const [first] = all;
  if (!first || !wanted) return first;
  const same = all.find(({ held }) => held.address.bits === wanted.bits);
  if (same) return same;
  const [address, held] = [formatAddress(wanted), formatAddress(first.held.address)];
  throw new IpamError({ code: "address-besides", address, held, handle, node: world.node });
}

interface Search {
  readonly request: One;
  readonly pools: readonly Pool[];
}

/** The fullest block with room: the others drain, and go back. */
function fromOwn(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  const byFullness = ownBlocks(world, draft, pools)
    .filter((block) => freeCount(block) > 0)
    .sort((a, b) => usedIn(b) - usedIn(a));
  for (const block of byFullness) {
    const given = give(block, request, termsFor(world, block));
    if (given) return keep(draft, given);
  }
  return undefined;
}

/** A block nobody has, created with the address already in it: one write for both. */
function fromNew(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  const { autoAllocateBlocks } = world.limits;
  if (!autoAllocateBlocks || ownBlocks(world, draft, pools).length >= blockLimit(world)) return undefined;
  for (const pool of pools) {
    for (const cidr of unclaimed(draft, pool, world)) {
      const block = newBlock(cidr, world.node, world.now);
      const given = give(block, request, termsFor(world, block));
      if (given) return keep(draft, given);
    }
  }
  return undefined;
}

/**
 * An address of some other node's block. Which one, the view says; it is read once and written once. Each node
 * begins its search elsewhere, and what waits together reads as many lenders as it needs at once.
 */
function borrow(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  if (world.limits.strictAffinity) return undefined;
  const inPools = (prefix: Prefix) => pools.some(({ cidr }) => contains(cidr, prefix));
  for (const block of draft.blocks()) {
    if (block.affinity === affinityOf(world.node) || !inPools(prefixOfBlock(block))) continue;
    const given = give(block, request, termsFor(world, block));
    if (given) return keep(draft, given);
  }
  const lenders = [...draft.others()].filter((other) => other.free > 0 && inPools(other.prefix));
  const first = lenders.length && spread(world.node, lenders.length);
  const lender = [...lenders.slice(first), ...lenders.slice(0, first)].find((one) => draft.promise(one));
  return lender && { read: lender.cidr };
}

/** What one may be given of this block. */
function termsFor({ now, limits, reserved, hostReserved }: World, block: Block): Terms {
  const cidr = prefixOfBlock(block);
  const [size, { first, last }] = [blockSize(block), hostReserved];
  const near = reserved.filter((one) => overlaps(one, cidr));
  const isHosts = (ordinal: number) => first + last < size && (ordinal < first || ordinal >= size - last);
  const isReserved = (ordinal: number) => near.some((one) => contains(one, offset(cidr, ordinal)));
  const barred = (ordinal: number) => isHosts(ordinal) || (near.length > 0 && isReserved(ordinal));
  return { now, cooldownSeconds: limits.cooldownSeconds, barred };
}

function assignExplicit(world: World, draft: Draft, request: One & { wanted: Address }): Grant {
  const { wanted } = request;
  const [node, address] = [world.node, formatAddress(wanted)];
  const pool = poolOf(world.pools, wanted, request.use ?? "Workload");
  if (!pool) throw new IpamError({ code: "address-not-in-pool", address, node });
  const cidr = blockFor(draft, wanted, pool);
  const rival = rivalsOf(world.pools, pool).find((other) => overlaps(other.cidr, cidr));
  if (rival && !draft.block(formatPrefix(cidr)))
    throw new IpamError({ code: "pools-overlap", pool: pool.name, other: rival.name, node });
  const block = draft.block(formatPrefix(cidr)) ?? newBlock(cidr, node, world.now);
  if (block === "unread") return { read: formatPrefix(cidr) };
  if (block.affinity !== affinityOf(node) && world.limits.strictAffinity) {
    const owner = block.affinity ? ownerOf(block.affinity) : "no node";
    throw new IpamError({ code: "address-of-other-node", address, owner, node });
  }
  const given = take(block, wanted, request);
  if ("takenBy" in given)
    throw new IpamError({ code: "address-in-use", address, by: given.takenBy.handle, node });
  return keep(draft, given);
}

/**
 * The block that has the address, of whatever size: the pool may have been made anew with another. Else the largest that
 * the pool's block size allows beside those there are.
 */
function blockFor(draft: Draft, wanted: Address, { blockSize: length }: Pool): Prefix {
  const regular = prefixOf(wanted, length);
  const near = [...draft.existing()].map(({ prefix }) => prefix).filter((one) => overlaps(one, regular));
  const around = near.find((one) => contains(one, wanted));
  if (around) return around;
  let free = regular;
  while (near.some((one) => overlaps(one, free))) free = prefixOf(wanted, free.length + 1);
  return free;
}

function keep(draft: Draft, { block, held }: { block: Block; held: Held }): Granted {
  draft.put(block);
  return { cidr: block.cidr, held, fresh: true };
}

function ownBlocks(world: World, draft: Draft, pools: readonly Pool[]): Block[] {
  const own = affinityOf(world.node);
  return [...draft.blocks()].filter(
    (block) => block.affinity === own && pools.some((pool) => contains(pool.cidr, prefixOfBlock(block))),
  );
}

/** 0 means no limit: a default nobody set must not stop a node's pods. */
const blockLimit = ({ limits }: World): number => limits.maxBlocksPerHost || Number.POSITIVE_INFINITY;

/** The pool's blocks that no existing block covers or lies in, those to be preferred first. */
function* unclaimed(draft: Draft, pool: Pool, { node, pools, racks, ...world }: World): Generator<Prefix> {
  const contested = rivalsOf(pools, pool).map(({ cidr }) => cidr);
  const reserved = [...world.reserved, ...contested];
  const existing = [...draft.existing()];
  const regular = existing.filter((one) => isOwn(pool, one.prefix));
  if (BigInt(regular.length) >= blocksIn(pool)) return;
  const odd = existing.map(({ prefix }) => prefix).filter(({ length }) => length !== pool.blockSize);
  const closed = [...odd, ...contested];
  const owners = new Map(
    regular.map(({ prefix, affinity }) => [indexOf(pool, prefix), affinity && nodeOf(affinity)]),
  );
  for (const cidr of claimOrder(pool, { node, racks, reserved, owners })) {
    if (!owners.has(indexOf(pool, cidr)) && !closed.some((other) => overlaps(cidr, other))) yield cidr;
  }
}

/** How many of the pool's own blocks exist; blocks of another size, left by an earlier pool, do not count. */
const claimedIn = (draft: Draft, pool: Pool): number =>
  [...draft.existing()].filter(({ prefix }) => isOwn(pool, prefix)).length;

const isOwn = (pool: Pool, prefix: Prefix): boolean =>
  prefix.length === pool.blockSize && contains(pool.cidr, prefix);

/** Contested ground is named alone where it is all that is missing: who sees `pool-exhausted` may find room otherwise. */
function exhausted(world: World, draft: Draft, pools: readonly Pool[]): never {
  const { node, limits } = world;
  const pool = pools.map(({ name }) => name).join(", ");
  if (ownBlocks(world, draft, pools).length >= blockLimit(world))
    throw new IpamError({ code: "block-limit", pool, node, limit: limits.maxBlocksPerHost });
  const claimed = pools.reduce((sum, p) => sum + claimedIn(draft, p), 0);
  const blocks = pools.reduce((sum, p) => sum + blocksIn(p), 0n);
  const { strictAffinity, autoAllocateBlocks } = limits;
  const why = !autoAllocateBlocks ? "no-auto-allocate" : strictAffinity ? "strict" : "full";
  const [rival] = pools.flatMap((one) => rivalsOf(world.pools, one));
  const mayTake = () =>
    strictAffinity && [...draft.others()].some((one) => isToBeHad(one, { node, pools, all: world.pools }));
  if (rival && autoAllocateBlocks && BigInt(claimed) < blocks && !mayTake())
    throw new IpamError({ code: "pools-overlap", pool, other: rival.name, node });
  const facts = { pool, node, claimed, blocks, why, ...(rival && { rival: rival.name }) } as const;
  throw new IpamError({ code: "pool-exhausted", ...facts });
}
