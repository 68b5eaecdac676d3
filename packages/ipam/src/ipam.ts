import type { ReleaseReason } from "@margay/api";
import { type Store, StoreError } from "@margay/datastore";
import {
  claimBlock,
  deleteBlock,
  disagreeing,
  heal,
  readBlock,
  releaseAffinity,
  type Site,
  updateBlock,
  updateTogether,
} from "./affinity.ts";
import type { Block, Held } from "./block.ts";
import type { Change } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { type IpamEvent, limitWarning } from "./events.ts";
import { type Evidence, type Garbage, garbage } from "./garbage.ts";
import { type Along, type Joint, jointOf } from "./joint.ts";
import { type Answer, type Operation, plan, type Sequenced } from "./plan.ts";
import { parsePools } from "./pools.ts";
import { takeEmpty } from "./take-empty.ts";
import { isDisposable, surplusBlocks } from "./tidy.ts";
import { AFFINITIES, BLOCKS, BlockCache, type BlockView, blockKey, type Versioned } from "./view.ts";
import { type AssignRequest, type Surroundings, worldOf } from "./world.ts";

export interface IpamOptions extends Surroundings {
  readonly store: Store;
  /** The watched cache; without one every batch begins with a list of all blocks. */
  readonly blocks?: BlockView;
  /** Told after the datastore has it: for logs and metrics. Must not throw. */
  readonly onEvent?: (event: IpamEvent) => void;
}

/** One address given to a handle. */
export type Assignment = Held;
/** One address taken back. */
export type Released = Held;

/**
 * Plans a batch may make before its operations end in `contention`. Each lost round means that another node
 * won one.
 */
const MAX_ATTEMPTS = 50;
/** Operations served by one plan: one transaction holds their blocks and what goes along. */
const MAX_BATCH = 100;

type Outcome = "written" | "refused" | Error;

interface Why {
  readonly reason?: ReleaseReason;
}

interface Pending {
  readonly operation: Operation;
  readonly resolve: (held: readonly Held[], wroteAlong: boolean) => void;
  readonly reject: (error: unknown) => void;
  /** Assigned and written so far, while another family's is not: failing now must take these back. */
  taken?: readonly Held[];
  /** Forgotten when it was refused. */
  along?: Along | undefined;
}

/**
 * Addresses for one node. Requests that arrive while others are being served wait, and are then planned
 * together: a hundred pods at once cost one write per block they share, and never fight each other's
 * compare-and-swap.
 */
export class Ipam {
  readonly #options: IpamOptions;
  #queue: Pending[] = [];
  #serving: Promise<void> | undefined;
  /**
   * Blocks whose last write failed or was refused, or which were never read whole: read before the next
   * plan.
   */
  readonly #stale = new Set<string>();
  /** Own blocks that `tidy` found empty. */
  #empty: ReadonlySet<string> = new Set();

  constructor(options: IpamOptions) {
    this.#options = options;
  }

  /**
   * Addresses for a handle, one per family, all or none; the same handle gets the same again. Throws
   * IpamError.
   */
  async assign(request: AssignRequest): Promise<readonly Assignment[]> {
    try {
      return await this.#submit({ kind: "assign", ...request });
    } catch (error) {
      if (!(await this.#tookEmpty(error))) throw error;
      return this.#submit({ kind: "assign", ...request });
    }
  }

  /** Whether a pool that had no block left has one again: another node's empty one. */
  async #tookEmpty(error: unknown): Promise<boolean> {
    if (!(error instanceof IpamError) || error.failure.code !== "pool-exhausted") return false;
    const { why, pool } = error.failure;
    if (why !== "strict") return false; // else one would have been borrowed from
    const names = pool.split(", ");
    const pools = parsePools(this.#options.pools()).filter(({ name }) => names.includes(name));
    const cidr = await this.#site()
      .then((site) => takeEmpty(site, pools))
      .catch((failed) => {
        throw this.#failure(failed);
      });
    if (cidr !== undefined) this.#options.onEvent?.({ kind: "block-returned", cidr });
    return cidr !== undefined;
  }

  /**
   * The same, writing something else in the same transaction: both or neither, if the addresses are from this node's own
   * blocks and nothing stands against what goes along. Else `wroteAlong` is false, and writing it is left to the caller.
   */
  assignWith(
    request: AssignRequest,
    along: Along,
  ): Promise<{ held: readonly Assignment[]; wroteAlong: boolean }> {
    const { promise, resolve, reject } = Promise.withResolvers<{
      held: readonly Assignment[];
      wroteAlong: boolean;
    }>();
    this.#enqueue({
      operation: { kind: "assign", ...request },
      resolve: (held, wroteAlong) => resolve({ held, wroteAlong }),
      reject,
      along,
    });
    return promise;
  }

  /** Frees all addresses of a handle; none is success. */
  release(which: { handle: string; reason?: ReleaseReason }): Promise<readonly Released[]> {
    return this.#submit({ kind: "release", reason: "requested", ...which });
  }

  /** Frees one address if it still carries the sequence number the caller saw; false: it does not. */
  async releaseAddress({ reason = "requested", ...one }: Sequenced & Why): Promise<boolean> {
    const released = await this.#submit({ kind: "release-addresses", which: [one], reason });
    return released.length > 0;
  }

  /** Frees what `garbage` found: all addresses of a handle, or none if one of them has changed hands since. */
  async collect(found: readonly Garbage[]): Promise<readonly Released[]> {
    const freed = found.map(({ addresses: which, reason }) =>
      this.#submit({ kind: "release-addresses", which, reason, together: true }),
    );
    return (await Promise.all(freed)).flat();
  }

  /** This node's garbage, as far as the view shows; frees nothing. */
  async garbage(evidence: Evidence): Promise<Garbage[]> {
    const { view } = await this.#site();
    return garbage(
      [...view.mine()].map(({ value }) => value),
      evidence,
    );
  }

  /** Gives one of this node's blocks back; see `releaseAffinity`. */
  async releaseBlock(cidr: string): Promise<void> {
    await releaseAffinity(await this.#site(), cidr);
    this.#options.onEvent?.({ kind: "block-returned", cidr });
  }

  /**
   * Gives back blocks that were empty the last time, too, and deletes those that nobody owns and nobody uses. To be
   * called every few minutes. Answers what was given back.
   */
  async tidy(): Promise<readonly string[]> {
    const { view } = await this.#site();
    const { surplus, empty, ownerless } = surplusBlocks(worldOf(this.#options, view, new Map()), this.#empty);
    for (const cidr of surplus) await this.releaseBlock(cidr);
    for (const { cidr } of ownerless) await this.#deleteOwnerless(cidr);
    this.#empty = empty;
    return surplus;
  }

  async #deleteOwnerless(cidr: string): Promise<void> {
    const site = await this.#site();
    const block = await readBlock(site, cidr);
    if (
      block &&
      block !== "corrupt" &&
      isDisposable(worldOf(this.#options, site.view, new Map()), block.spec)
    )
      await deleteBlock(site, cidr, block.revision);
  }

  #submit(operation: Operation): Promise<readonly Held[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Held[]>();
    this.#enqueue({ operation, resolve, reject });
    return promise;
  }

  #enqueue(pending: Pending): void {
    this.#queue.push(pending);
    this.#serving ??= this.#serve();
  }

  async #serve(): Promise<void> {
    await Promise.resolve(); // let the requests of this turn come together
    while (this.#queue.length > 0) await this.#serveBatch(this.#queue.splice(0, MAX_BATCH));
    this.#serving = undefined;
  }

  /** Never throws: every operation of the batch is resolved or rejected. */
  async #serveBatch(batch: readonly Pending[]): Promise<void> {
    let waiting = batch;
    try {
      const site = await this.#site();
      for (const cidr of disagreeing(site)) await heal(site, cidr);
      const reads = new Map<string, Versioned<Block> | undefined>();
      for (let attempt = 0; attempt < MAX_ATTEMPTS && waiting.length > 0; attempt++) {
        await this.#readStale(site, reads);
        const operations = waiting.map(({ operation }) => operation);
        const { answers, changes } = plan(worldOf(this.#options, site.view, reads), operations);
        const along = waiting.map((pending) => pending.along);
        const joint = jointOf(this.#options.node, changes, { answers, along });
        const apart = changes.filter((change) => !joint.changes.includes(change));
        const each = apart.map(async (change) => [await this.#write(site, change)]);
        const all = await Promise.all([this.#writeTogether(site, joint, waiting), ...each]);
        const results = new Map(all.flat());
        this.#tellClaimed(site, changes, results);
        waiting = waiting.flatMap(
          (pending, i) => this.#settle(pending, answers[i]!, { results, wroteAlong: joint.along.has(i) }), // one answer each
        );
      }
      const failure = { code: "contention", node: this.#options.node, attempts: MAX_ATTEMPTS } as const;
      for (const { reject } of waiting) reject(new IpamError(failure));
    } catch (error) {
      for (const { reject } of waiting) reject(this.#failure(error));
    }
  }

  async #site(): Promise<Site> {
    const { store, node, now } = this.#options;
    return { store, node, now, view: this.#options.blocks ?? (await listed(store, node)) };
  }

  async #readStale(site: Site, reads: Map<string, Versioned<Block> | undefined>): Promise<void> {
    await Promise.all(
      [...this.#stale].map(async (cidr) => {
        const block = await readBlock(site, cidr);
        if (block !== "corrupt") reads.set(cidr, block && { value: block.spec, revision: block.revision });
        this.#stale.delete(cidr);
      }),
    );
  }

  /** What was refused for what goes along is planned again without: whoever asked writes it. */
  async #writeTogether(
    site: Site,
    { changes, along }: Joint,
    waiting: readonly Pending[],
  ): Promise<[string, Outcome][]> {
    if (changes.length === 0) return [];
    const updates = changes.map(({ before, after }) => ({ after: after!, revision: before!.revision })); // updates, all
    const all = (outcome: Outcome) => changes.map(({ cidr }): [string, Outcome] => [cidr, outcome]);
    try {
      const found = await updateTogether(site, updates, [...along.values()].flat());
      if (!found) return all("written");
      const lost = changes.find(({ cidr }) => blockKey(cidr) === found.refused);
      if (lost) this.#stale.add(lost.cidr);
      else for (const pending of waiting) pending.along = undefined;
      return all("refused");
    } catch (error) {
      for (const { cidr } of changes) this.#stale.add(cidr);
      return all(this.#failure(error));
    }
  }

  /** One block that stands for itself; "refused" and a store's failure make the block stale. */
  async #write(site: Site, change: Change): Promise<[string, Outcome]> {
    const { cidr } = change;
    try {
      if (await apply(site, change)) return [cidr, "written"];
      this.#stale.add(cidr);
      return [cidr, "refused"];
    } catch (error) {
      this.#stale.add(cidr);
      return [cidr, this.#failure(error)];
    }
  }

  #tellClaimed(site: Site, changes: readonly Change[], results: ReadonlyMap<string, Outcome>): void {
    const { onEvent, node, config } = this.#options;
    const claimed = changes.filter(({ cidr, before }) => !before && results.get(cidr) === "written");
    if (!onEvent || claimed.length === 0) return;
    for (const { cidr } of claimed) onEvent({ kind: "block-claimed", cidr });
    const warning = limitWarning(site.view.mine(), { node, limit: config().maxBlocksPerHost });
    if (warning) onEvent(warning);
  }

  /** Answers the operation, or returns what must be planned again. */
  #settle(
    pending: Pending,
    answer: Answer,
    { results, wroteAlong }: { results: ReadonlyMap<string, Outcome>; wroteAlong: boolean },
  ) {
    if (answer.kind === "read") {
      this.#stale.add(answer.cidr);
      return [pending];
    }
    if (answer.kind === "failed") return this.#fail(pending, answer.error);
    if (answer.kind === "unchanged") return this.#answer(pending, []);
    const outcomes = answer.blocks.map((cidr) => results.get(cidr) ?? "written"); // no change: it was so already
    const written = answer.fresh.filter(({ cidr }) => results.get(cidr) === "written");
    pending.taken = [...(pending.taken ?? []), ...written.map(({ held }) => held)];
    const failure = outcomes.find((outcome) => outcome instanceof Error);
    if (failure) return this.#fail(pending, failure);
    if (outcomes.includes("refused")) return [pending];
    return this.#answer(pending, answer.held, wroteAlong);
  }

  #answer({ operation, resolve }: Pending, held: readonly Held[], wroteAlong = false): Pending[] {
    if (operation.kind !== "assign")
      for (const one of held) this.#options.onEvent?.({ kind: "freed", ...one, reason: operation.reason });
    resolve(held, wroteAlong);
    return [];
  }

  /** Rejects, after taking back what a dual-stack assignment already had. */
  #fail(pending: Pending, error: Error): Pending[] {
    const { taken: which = [], reject } = pending;
    if (which.length === 0) {
      reject(error);
      return [];
    }
    const ended = () => reject(error);
    return [
      {
        operation: { kind: "release-addresses", which, reason: "add-failed" },
        resolve: ended,
        reject: ended,
      },
    ];
  }

  /**
   * What the store could not do may work later; anything else is a fault of the program and keeps its own
   * name.
   */
  #failure(error: unknown): Error {
    if (error instanceof StoreError)
      return new IpamError({ code: "datastore", node: this.#options.node, reason: error.message }, error);
    return error instanceof Error ? error : new Error("ipam: not an Error was thrown", { cause: error });
  }
}

/** True when written; false when the store holds something newer. */
async function apply(site: Site, { cidr, before, after }: Change): Promise<boolean> {
  if (!before) return after === undefined || claimBlock(site, after);
  if (!after) return deleteBlock(site, cidr, before.revision);
  return (await updateBlock(site, after, before.revision)) !== undefined;
}

/** A view of one moment, for who has no watch. */
async function listed(store: Store, node: string): Promise<BlockView> {
  const cache = new BlockCache({ node });
  for (const prefix of [AFFINITIES, BLOCKS])
    cache.apply((await store.list(prefix)).entries.map((entry) => ({ key: entry.key, entry })));
  return cache;
}
