import {
  type Address,
  contains,
  type Family,
  formatAddress,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  prefixOf,
} from "@margay/net";
import {
  type Attributes,
  affinityOf,
  type Block,
  assign as give,
  type Held,
  heldBy,
  newBlock,
  claim as take,
} from "./block.ts";
import type { Draft, Reads } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { blocksIn, candidates, type Pool, poolOf, selectPools, spread } from "./pools.ts";
import type { BlockView } from "./view.ts";

export interface AssignRequest {
  /** Names the owner: one pod sandbox. The same handle always gets the same addresses. */
  readonly handle: string;
  /** One address each; all or none. */
  readonly families: readonly Family[];
  readonly attributes: Attributes;
  /** Pool names or CIDRs; default: every pool that suits the node. */
  readonly pools?: readonly string[];
  /** These very addresses, at most one per family. */
  readonly addresses?: readonly Address[];
}

/** All that a plan depends on. */
export interface World {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly now: Date;
  readonly pools: readonly Pool[];
  readonly limits: {
    readonly strictAffinity: boolean;
    readonly autoAllocateBlocks: boolean;
    readonly maxBlocksPerHost: number;
  };
  readonly view: BlockView;
  readonly reads: Reads;
}

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
 * else own block with room, a new block, a borrowed address. Throws IpamError when there is none.
 */
export function assignOne(world: World, draft: Draft, request: One): Grant {
  const wanted = request.addresses?.find((address) => address.family === request.family);
  const had = alreadyHeld(draft, request);
  if (had && (!wanted || had.held.address.bits === wanted.bits)) return had;
  if (wanted) return assignExplicit(world, draft, { ...request, wanted });
  const { node, labels } = world;
  const pools = selectPools(world.pools, { node, labels, family: request.family, named: request.pools });
  return (
    fromOwn(world, draft, { request, pools }) ??
    fromNew(world, draft, { request, pools }) ??
    borrow(world, draft, { request, pools }) ??
    exhausted(world, draft, pools)
  );
}

function alreadyHeld(draft: Draft, { handle, family }: One): Granted | undefined {
  for (const block of draft.blocks()) {
    const held = heldBy(block, handle).find(({ address }) => address.family === family);
    if (held) return { cidr: block.cidr, held, fresh: false };
  }
  return undefined;
}

interface Search {
  readonly request: One;
  readonly pools: readonly Pool[];
}

function fromOwn(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  for (const block of ownBlocks(world, draft, pools)) {
    const given = give(block, request);
    if (given) return keep(draft, given);
  }
  return undefined;
}

/** A block nobody has, created with the address already in it: one write for both. */
function fromNew(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  const { autoAllocateBlocks } = world.limits;
  if (!autoAllocateBlocks || ownBlocks(world, draft, pools).length >= blockLimit(world)) return undefined;
  for (const pool of pools) {
    const cidr = unclaimed(draft, pool, world.node);
    const given = cidr && give(newBlock(cidr, world.node, world.now), request);
    if (given) return keep(draft, given);
  }
  return undefined;
}

/** An address of some other node's block; each node begins its search elsewhere. */
function borrow(world: World, draft: Draft, { request, pools }: Search): Grant | undefined {
  if (world.limits.strictAffinity) return undefined;
  const inPools = ({ cidr }: { cidr: string }) =>
    pools.some((pool) => contains(pool.cidr, parsePrefix(cidr)));
  for (const block of draft.blocks()) {
    const given = block.affinity !== affinityOf(world.node) && inPools(block) && give(block, request);
    if (given) return keep(draft, given);
  }
  const lenders = [...draft.others()].filter((other) => other.free > 0 && inPools(other));
  const lender = lenders[lenders.length && spread(world.node, lenders.length)];
  return lender && { read: lender.cidr };
}

function assignExplicit(world: World, draft: Draft, request: One & { wanted: Address }): Grant {
  const { wanted } = request;
  const [node, address] = [world.node, formatAddress(wanted)];
  const pool = poolOf(world.pools, wanted);
  if (!pool) throw new IpamError({ code: "address-not-in-pool", address, node });
  const cidr = prefixOf(wanted, pool.blockSize);
  const block = draft.block(formatPrefix(cidr)) ?? newBlock(cidr, node, world.now);
  if (block === "unread") return { read: formatPrefix(cidr) };
  if (block.affinity !== affinityOf(node) && world.limits.strictAffinity)
    throw new IpamError({ code: "address-of-other-node", address, owner: block.affinity ?? "no node", node });
  const given = take(block, wanted, request);
  if ("takenBy" in given)
    throw new IpamError({ code: "address-in-use", address, by: given.takenBy.handle, node });
  return keep(draft, given);
}

function keep(draft: Draft, { block, held }: { block: Block; held: Held }): Granted {
  draft.put(block);
  return { cidr: block.cidr, held, fresh: true };
}

function ownBlocks(world: World, draft: Draft, pools: readonly Pool[]): Block[] {
  const own = affinityOf(world.node);
  return [...draft.blocks()].filter(
    ({ affinity, cidr }) => affinity === own && pools.some((pool) => contains(pool.cidr, parsePrefix(cidr))),
  );
}

/** 0 means no limit: a default nobody set must not stop a node's pods. */
const blockLimit = ({ limits }: World): number => limits.maxBlocksPerHost || Number.POSITIVE_INFINITY;

/** The first candidate that no existing block covers or lies in. */
function unclaimed(draft: Draft, pool: Pool, node: string): Prefix | undefined {
  const existing = [...draft.cidrs()];
  const regular = `/${pool.blockSize}`;
  const odd = existing.filter((cidr) => !cidr.endsWith(regular)).map((cidr) => parsePrefix(cidr));
  if (BigInt(existing.length) >= blocksIn(pool) && claimedIn(draft, pool) >= blocksIn(pool)) return undefined;
  for (const cidr of candidates(pool, node)) {
    if (draft.block(formatPrefix(cidr)) === undefined && !odd.some((other) => overlaps(cidr, other)))
      return cidr;
  }
  return undefined;
}

/** How many of the pool's own blocks exist; blocks of another size, left by an earlier pool, do not count. */
function claimedIn(draft: Draft, pool: Pool): number {
  const inPool = [...draft.cidrs()].filter(
    (cidr) => cidr.endsWith(`/${pool.blockSize}`) && contains(pool.cidr, parsePrefix(cidr)),
  );
  return inPool.length;
}

function exhausted(world: World, draft: Draft, pools: readonly Pool[]): never {
  const { node, limits } = world;
  const pool = pools.map(({ name }) => name).join(", ");
  if (ownBlocks(world, draft, pools).length >= blockLimit(world))
    throw new IpamError({ code: "block-limit", pool, node, limit: limits.maxBlocksPerHost });
  const claimed = pools.reduce((sum, p) => sum + claimedIn(draft, p), 0);
  const blocks = pools.reduce((sum, p) => sum + blocksIn(p), 0n);
  const why = limits.strictAffinity ? "strict" : limits.autoAllocateBlocks ? "full" : "no-auto-allocate";
  throw new IpamError({ code: "pool-exhausted", pool, node, claimed, blocks, why });
}
