import type { ReleaseReason } from "@margay/api";
import { type Address, contains, formatPrefix, prefixOf } from "@margay/net";
import { type Allocation, type Block, type Held, isEmpty, ordinalOf, release } from "./block.ts";
import { type Change, Draft } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { cooling, type Freeing } from "./journal.ts";
import { assignOne, type Granted } from "./search.ts";
import type { AssignRequest, World } from "./world.ts";

export type Operation =
  | ({ readonly kind: "assign" } & AssignRequest)
  | { readonly kind: "release"; readonly handle: string; readonly reason: ReleaseReason }
  | {
      readonly kind: "release-addresses";
      readonly which: readonly Sequenced[];
      readonly reason: ReleaseReason;
      /** Frees nothing unless all of them still are what the caller saw. */
      readonly together?: boolean;
    };

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

/** `read`: that block must be read first. `unchanged`: nothing was to be done. */
export type Answer =
  | Done
  | { readonly kind: "unchanged" }
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
      return releaseHandle(world, draft, operation);
    case "release-addresses":
      return releaseAddresses(world, draft, operation);
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
function releaseHandle(world: World, draft: Draft, operation: Of<"release">): Answer {
  const [held, blocks]: [Held[], string[]] = [[], []];
  const freeing = freeingOf(world, operation);
  for (const block of [...draft.blocks()]) {
    const { block: after, released } = release(block, ({ handle }) => handle === operation.handle, freeing);
    if (released.length === 0) continue;
    settle(world, draft, after);
    held.push(...released);
    blocks.push(block.cidr);
  }
  return { kind: "done", held, blocks, fresh: [] };
}

/** Frees each address that still is what the caller saw: a sequence number that moved on frees nothing. */
function releaseAddresses(world: World, draft: Draft, operation: Of<"release-addresses">): Answer {
  const [held, blocks]: [Held[], string[]] = [[], []];
  for (const { address, sequence } of operation.which) {
    const cidr = blockOf(world, address);
    const block = cidr === undefined ? undefined : draft.block(cidr);
    if (block === "unread" && cidr !== undefined) return { kind: "read", cidr };
    const ordinal = block && block !== "unread" ? ordinalOf(block, address) : undefined;
    const same = (allocation: Allocation, n: number) => n === ordinal && allocation.sequence === sequence;
    const freed = block && block !== "unread" && release(block, same, freeingOf(world, operation));
    if (freed && freed.released.length > 0) {
      settle(world, draft, freed.block);
      held.push(...freed.released);
      blocks.push(freed.block.cidr);
    } else if (operation.together) return { kind: "unchanged" };
  }
  return { kind: "done", held, blocks, fresh: [] };
}

type Of<K extends Operation["kind"]> = Extract<Operation, { readonly kind: K }>;

const freeingOf = ({ now, limits }: World, { reason }: { reason: ReleaseReason }): Freeing => ({
  ...{ reason, at: now, cooldownSeconds: limits.cooldownSeconds },
});

/** A block that nobody owns goes with its last address, unless that still cools down: then `tidy` deletes it. */
function settle({ now, limits }: World, draft: Draft, block: Block): void {
  const rests = cooling(block, { now, cooldownSeconds: limits.cooldownSeconds }).size > 0;
  if (isEmpty(block) && block.affinity === undefined && !rests) draft.remove(block);
  else draft.put(block);
}

/** The existing or possible block of an address: by its pool, else (pool gone) by search. */
function blockOf({ pools, view }: World, address: Address): string | undefined {
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  const regular = pool && formatPrefix(prefixOf(address, pool.blockSize));
  if (regular && view.summaries().has(regular)) return regular;
  return [...view.summaries().values()].find(({ prefix }) => contains(prefix, address))?.cidr;
}
