import {
  confirmClaim,
  deleteBlock,
  disagreeing,
  heal,
  readBlock,
  type Site,
  updateBlock,
  writeTogether,
} from "./affinity.ts";
import type { Block, Held } from "./block.ts";
import type { Change } from "./draft.ts";
import { IpamError } from "./errors.ts";
import { limitWarning } from "./events.ts";
import { type Along, type Joint, jointOf } from "./joint.ts";
import { failureOf, type IpamOptions, siteOf } from "./options.ts";
import { type Answer, type Operation, plan } from "./plan.ts";
import { affinityKey, blockKey, type Versioned } from "./view.ts";
import { worldOf } from "./world.ts";

/**
 * Plans a batch may make before its operations end in `contention`. Each lost round means that another node
 * won one.
 */
const MAX_ATTEMPTS = 50;
/** Operations served by one plan: one transaction holds their blocks and what goes along. */
const MAX_BATCH = 100;

type Outcome = "written" | "refused" | Error;

/** What an operation gave, or took back. */
export interface Served {
  readonly held: readonly Held[];
  readonly wroteAlong: boolean;
}

/** What came of a plan. */
interface Written {
  readonly results: ReadonlyMap<string, Outcome>;
  /** Blocks that were read and could not be. */
  readonly corrupt: ReadonlySet<string>;
  readonly wroteAlong: boolean;
}

/** An operation that waits for its answer. */
interface Pending {
  readonly operation: Operation;
  readonly resolve: (served: Served) => void;
  readonly reject: (error: unknown) => void;
  /** Assigned and written so far, while another family's is not: failing now must take these back. */
  taken?: readonly Held[];
  /** Forgotten when it was refused. */
  along?: Along | undefined;
  /** What kept it from being said: its own operation fails, and no other of the batch. */
  failed?: Error;
}

/**
 * Serves operations one batch at a time. Those that arrive while others are being served wait, and are then planned together: a
 * hundred pods at once cost one write per block they share, and never fight each other's compare-and-swap.
 */
export class Batches {
  readonly #options: IpamOptions;
  #queue: Pending[] = [];
  #serving: Promise<void> | undefined;
  /** Blocks whose last write failed or was refused, or which were never read whole: read before the next plan. */
  readonly #stale = new Set<string>();

  constructor(options: IpamOptions) {
    this.#options = options;
  }

  /** Throws IpamError. What goes along is written in the same transaction, or not: the answer says. */
  submit(operation: Operation, along?: Along): Promise<Served> {
    const { promise, resolve, reject } = Promise.withResolvers<Served>();
    const pending: Pending = {
      operation,
      resolve,
      reject,
      along: along && ((held) => whatGoesWith(pending, held, along)),
    };
    this.#queue.push(pending);
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
      const site = await siteOf(this.#options);
      for (const cidr of disagreeing(site)) await heal(site, cidr);
      const reads = new Map<string, Versioned<Block> | undefined>();
      const corrupt = new Set<string>();
      for (let attempt = 0; attempt < MAX_ATTEMPTS && waiting.length > 0; attempt++) {
        await this.#readStale(site, { reads, corrupt });
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
          (pending, i) =>
            this.#settle(pending, answers[i]!, { results, corrupt, wroteAlong: joint.along.has(i) }), // one answer each
        );
      }
      const failure = { code: "contention", node: this.#options.node, attempts: MAX_ATTEMPTS } as const;
      for (const { reject } of waiting) reject(new IpamError(failure));
    } catch (error) {
      for (const { reject } of waiting) reject(failureOf(this.#options.node, error));
    }
  }

  async #readStale(
    site: Site,
    { reads, corrupt }: { reads: Map<string, Versioned<Block> | undefined>; corrupt: Set<string> },
  ): Promise<void> {
    await Promise.all(
      [...this.#stale].map(async (cidr) => {
        const block = await readBlock(site, cidr);
        if (block === "corrupt") corrupt.add(cidr);
        else reads.set(cidr, block && { value: block.spec, revision: block.revision });
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
    const blocks = changes.map(({ before, after }) => ({ after: after!, revision: before?.revision })); // none is deleted
    const all = (outcome: Outcome) => changes.map(({ cidr }): [string, Outcome] => [cidr, outcome]);
    try {
      const found = await writeTogether(site, blocks, [...along.values()].flat());
      if (!found) return [...all("written"), ...(await this.#unconfirmed(site, changes))];
      const lost = changes.find(({ cidr }) => isOf(site.node, cidr, found.refused));
      if (lost) await this.#lost(site, lost);
      else for (const pending of waiting) pending.along = undefined;
      return all("refused");
    } catch (error) {
      for (const { cidr } of changes) this.#stale.add(cidr);
      return all(failureOf(this.#options.node, error));
    }
  }

  /** What was claimed, and its affinity could not be confirmed: to be announced it waits for a healing. */
  async #unconfirmed(site: Site, changes: readonly Change[]): Promise<[string, Outcome][]> {
    const claimed = changes.filter(({ before }) => !before);
    const all = await Promise.all(
      claimed.map(async ({ cidr }): Promise<[string, Outcome][]> => {
        try {
          await confirmClaim(site, cidr);
          return [];
        } catch (error) {
          return [[cidr, failureOf(this.#options.node, error)]];
        }
      }),
    );
    return all.flat();
  }

  /** What stands against a claim may be what an earlier one has left. */
  async #lost(site: Site, { cidr, before }: Change): Promise<void> {
    this.#stale.add(cidr);
    if (!before) await heal(site, cidr);
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
      return [cidr, failureOf(this.#options.node, error)];
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
  #settle(pending: Pending, answer: Answer, { results, corrupt, wroteAlong }: Written) {
    if (answer.kind === "read") {
      const { node } = this.#options;
      if (corrupt.has(answer.cidr))
        return this.#fail(pending, new IpamError({ code: "corrupt-block", cidr: answer.cidr, node }));
      this.#stale.add(answer.cidr);
      return [pending];
    }
    if (answer.kind === "failed") return this.#fail(pending, answer.error);
    if (answer.kind === "unchanged") return this.#answer(pending, []);
    const outcomes = answer.blocks.map((cidr) => results.get(cidr) ?? "written"); // no change: it was so already
    const written = answer.fresh.filter(({ cidr }) => results.get(cidr) === "written");
    pending.taken = [...(pending.taken ?? []), ...written.map(({ held }) => held)];
    const failure = pending.failed ?? outcomes.find((outcome) => outcome instanceof Error);
    if (wroteAlong) pending.taken = []; // whoever said what goes along takes that back, and these with it
    if (failure) return this.#fail(pending, failure);
    if (outcomes.includes("refused")) return [pending];
    return this.#answer(pending, answer.held, wroteAlong);
  }

  #answer({ operation, resolve }: Pending, held: readonly Held[], wroteAlong = false): Pending[] {
    if (operation.kind !== "assign")
      for (const one of held) this.#options.onEvent?.({ kind: "freed", ...one, reason: operation.reason });
    resolve({ held, wroteAlong });
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
}

function whatGoesWith(pending: Pending, held: readonly Held[], along: Along): ReturnType<Along> {
  try {
    return along(held);
  } catch (error) {
    pending.failed = error instanceof Error ? error : new Error(String(error));
    return [];
  }
}

/** Whether a key is that of a block, or of the node's affinity for it. */
const isOf = (node: string, cidr: string, key: string): boolean =>
  key === blockKey(cidr) || key === affinityKey(node, cidr);

/** True when written; false when the store holds something newer. */
async function apply(site: Site, { before, after, last }: Change): Promise<boolean> {
  if (!before) return after === undefined; // what is new is this node's own
  if (!after) return deleteBlock(site, last ?? before.value, before.revision);
  return (await updateBlock(site, after, before.revision)) !== undefined;
}
