import type { IPAMConfiguration, IPPool } from "@margay/api";
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
} from "./affinity.ts";
import type { Block, Held } from "./block.ts";
import type { Change } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { type Answer, type Operation, plan, type Sequenced } from "./plan.ts";
import { parsePools } from "./pools.ts";
import type { AssignRequest, World } from "./search.ts";
import { AFFINITIES, BLOCKS, BlockCache, type BlockView, type Versioned } from "./view.ts";

export interface IpamOptions {
  readonly store: Store;
  readonly node: string;
  readonly now: () => Date;
  /** The watched cache; without one every batch begins with a list of all blocks. */
  readonly blocks?: BlockView;
  readonly pools: () => readonly IPPool[];
  readonly config: () => IPAMConfiguration["spec"];
  /** This node's labels, for IPPool.nodeSelector. */
  readonly labels: () => Readonly<Record<string, string>>;
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
/** Operations served by one plan. */
const MAX_BATCH = 256;

interface Pending {
  readonly operation: Operation;
  readonly resolve: (held: readonly Held[]) => void;
  readonly reject: (error: unknown) => void;
  /** Assigned and written so far, while another family's is not: failing now must take these back. */
  taken?: readonly Held[];
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

  constructor(options: IpamOptions) {
    this.#options = options;
  }

  /**
   * Addresses for a handle, one per family, all or none; the same handle gets the same again. Throws
   * IpamError.
   */
  assign(request: AssignRequest): Promise<readonly Assignment[]> {
    return this.#submit({ kind: "assign", ...request });
  }

  /** Frees all addresses of a handle; none is success. */
  release({ handle }: { handle: string }): Promise<readonly Released[]> {
    return this.#submit({ kind: "release", handle });
  }

  /** Frees one address if it still carries the sequence number the caller saw; false: it does not. */
  async releaseAddress(which: Sequenced): Promise<boolean> {
    const released = await this.#submit({ kind: "release-addresses", which: [which] });
    return released.length > 0;
  }

  /** Gives one of this node's blocks back; see `releaseAffinity`. */
  async releaseBlock(cidr: string): Promise<void> {
    await releaseAffinity(await this.#site(), cidr);
  }

  #submit(operation: Operation): Promise<readonly Held[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Held[]>();
    this.#queue.push({ operation, resolve, reject });
    this.#serving ??= this.#serve();
    return promise;
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
        const { answers, changes } = plan(this.#world(site.view, reads), operations);
        const results = new Map(await Promise.all(changes.map((change) => this.#write(site, change))));
        waiting = waiting.flatMap((pending, i) => this.#settle(pending, answers[i]!, results)); // one answer each
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

  #world(view: BlockView, reads: World["reads"]): World {
    const { node, now, labels, pools, config } = this.#options;
    const { strictAffinity, autoAllocateBlocks, maxBlocksPerHost } = config();
    return {
      node,
      labels: labels(),
      now: now(),
      pools: parsePools(pools()),
      limits: { strictAffinity, autoAllocateBlocks, maxBlocksPerHost },
      view,
      reads,
    };
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

  /** The one place that changes the store; "refused" and a store's failure make the block stale. */
  async #write(site: Site, change: Change): Promise<[string, "written" | "refused" | Error]> {
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

  /** Answers the operation, or returns what must be planned again. */
  #settle(pending: Pending, answer: Answer, results: ReadonlyMap<string, "written" | "refused" | Error>) {
    if (answer.kind === "read") {
      this.#stale.add(answer.cidr);
      return [pending];
    }
    if (answer.kind === "failed") return this.#fail(pending, answer.error);
    const outcomes = answer.blocks.map((cidr) => results.get(cidr) ?? "written"); // no change: it was so already
    const written = answer.fresh.filter(({ cidr }) => results.get(cidr) === "written");
    pending.taken = [...(pending.taken ?? []), ...written.map(({ held }) => held)];
    const failure = outcomes.find((outcome) => outcome instanceof Error);
    if (failure) return this.#fail(pending, failure);
    if (outcomes.includes("refused")) return [pending];
    pending.resolve(answer.held);
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
    return [{ operation: { kind: "release-addresses", which }, resolve: ended, reject: ended }];
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
