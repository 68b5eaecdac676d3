import { type Address, contains, formatPrefix, parsePrefix, prefixOf } from "@margay/net";
import { type Block, type Held, isEmpty, ordinalOf, release } from "./block.ts";
import { type Change, Draft } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { type AssignRequest, assignOne, type Granted, type World } from "./search.ts";

export type Operation =
  | ({ readonly kind: "assign" } & AssignRequest)
  | { readonly kind: "release"; readonly handle: string }
  | { readonly kind: "release-addresses"; readonly which: readonly Sequenced[] };

/** An address as its holder saw it. */
export interface Sequenced {
  readonly address: Address;
  readonly sequence: number;
}

/** An operation whose answer holds once the `blocks` named are written. */
export interface Done {
  readonly kind: "done";
  /** Assigned or released. */
  readonly held: readonly Held[];
  readonly blocks: readonly string[];
  /** What of an assignment the handle did not have before, and in which block: what a failure must take back. */
  readonly fresh: readonly Granted[];
}

/** `read`: that block must be read first. */
export type Answer =
  | Done
  | { readonly kind: "read"; readonly cidr: string }
  | { readonly kind: "failed"; readonly error: IpamError };

/**
 * What to write so that all operations happen, in their order, with one write per block; and what to answer
 * each when its blocks are written. Pure: the same world and operations give the same plan.
 */
export function plan(
  world: World,
  operations: readonly Operation[],
): { answers: Answer[]; changes: Change[] } {
  const draft = new Draft(world.view, world.reads);
  const answers = operations.map((operation) => step(world, draft, operation));
  return { answers, changes: draft.changes() };
}

/** One operation; what does not end in "done" leaves the draft as it was. */
function step(world: World, draft: Draft, operation: Operation): Answer {
  const saved = draft.save();
  try {
    const answer = act(world, draft, operation);
    if (answer.kind !== "done") draft.restore(saved);
    return answer;
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    draft.restore(saved);
    return { kind: "failed", error };
  }
}

function act(world: World, draft: Draft, operation: Operation): Answer {
  switch (operation.kind) {
    case "assign":
      return assignAll(world, draft, operation);
    case "release":
      return releaseHandle(draft, operation.handle);
    case "release-addresses":
      return releaseAddresses(world, draft, operation.which);
  }
}

function assignAll(world: World, draft: Draft, request: AssignRequest): Answer {
  const grants: Granted[] = [];
  for (const family of request.families) {
    const grant = assignOne(world, draft, { ...request, family });
    if ("read" in grant) return { kind: "read", cidr: grant.read };
    grants.push(grant);
  }
  return {
    kind: "done",
    held: grants.map(({ held }) => held),
    blocks: grants.map(({ cidr }) => cidr),
    fresh: grants.filter(({ fresh }) => fresh),
  };
}

/** Frees all that the handle has; a block with no owner that becomes empty goes with it. */
function releaseHandle(draft: Draft, handle: string): Answer {
  const [held, blocks]: [Held[], string[]] = [[], []];
  for (const block of [...draft.blocks()]) {
    const { block: after, released } = release(block, (allocation) => allocation.handle === handle);
    if (released.length === 0) continue;
    settle(draft, after);
    held.push(...released);
    blocks.push(block.cidr);
  }
  return { kind: "done", held, blocks, fresh: [] };
}

/** Frees each address that still is what the caller saw: a sequence number that moved on frees nothing. */
function releaseAddresses(world: World, draft: Draft, which: readonly Sequenced[]): Answer {
  const [held, blocks]: [Held[], string[]] = [[], []];
  for (const { address, sequence } of which) {
    const cidr = blockOf(world, address);
    const block = cidr === undefined ? undefined : draft.block(cidr);
    if (!block || cidr === undefined) continue;
    if (block === "unread") return { kind: "read", cidr };
    const ordinal = ordinalOf(block, address);
    const { block: after, released } = release(block, (a, n) => n === ordinal && a.sequence === sequence);
    settle(draft, after);
    held.push(...released);
    blocks.push(cidr);
  }
  return { kind: "done", held, blocks, fresh: [] };
}

function settle(draft: Draft, block: Block): void {
  if (isEmpty(block) && block.affinity === undefined) draft.remove(block.cidr);
  else draft.put(block);
}

/** The existing or possible block of an address: by its pool, else (pool gone) by search. */
function blockOf({ pools, view }: World, address: Address): string | undefined {
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  const regular = pool && formatPrefix(prefixOf(address, pool.blockSize));
  if (regular && view.summaries().has(regular)) return regular;
  return [...view.summaries().keys()].find((cidr) => contains(parsePrefix(cidr), address));
}
