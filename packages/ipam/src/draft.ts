import type { Prefix } from "@margay/net";
import { type Block, prefixOfBlock } from "./block.ts";
import type { BlockSummary, BlockView, Versioned } from "./view.ts";

/** What has to be written for one block: create (no before), update, or delete (no after). */
export interface Change {
  readonly cidr: string;
  readonly before?: Versioned<Block>;
  readonly after?: Block;
  /** Of one to be deleted: as it would have been, for its journal. */
  readonly last?: Block;
}

/** Blocks read from the store itself since the view was taken; undefined = not there. */
export type Reads = ReadonlyMap<string, Versioned<Block> | undefined>;

/** The blocks as they would be after the steps planned so far; the view under it is never touched. */
export class Draft {
  readonly #summaries: ReadonlyMap<string, BlockSummary>;
  readonly #reads: Reads;
  readonly #base: ReadonlyMap<string, Versioned<Block>>;
  /** Addresses counted on, by block; not undone by `restore`. */
  readonly #promised = new Map<string, number>();
  /** What was removed; not undone by `restore`, for only what is not there any more counts. */
  readonly #last = new Map<string, Block>();
  #now: Map<string, Block>;

  constructor(view: BlockView, reads: Reads) {
    this.#summaries = view.summaries();
    this.#reads = reads;
    this.#base = latest(view, reads);
    this.#now = new Map([...this.#base].map(([cidr, { value }]) => [cidr, value]));
  }

  /** "unread": it exists, but only its summary is known here. */
  block(cidr: string): Block | "unread" | undefined {
    const known = this.#now.get(cidr);
    if (known || this.#base.has(cidr) || this.#reads.has(cidr)) return known;
    return this.#summaries.has(cidr) ? "unread" : undefined;
  }

  /** The blocks known whole: all of this node's, all it holds addresses in, all just read. */
  *blocks(): Generator<Block> {
    yield* this.#now.values();
  }

  /** Summaries of every other block of the cluster. */
  *others(): Generator<BlockSummary> {
    for (const summary of this.#summaries.values()) if (this.block(summary.cidr) === "unread") yield summary;
  }

  /** Every block there is or would be. */
  *existing(): Generator<{ readonly prefix: Prefix; readonly affinity?: string | undefined }> {
    for (const block of this.#now.values()) yield { prefix: prefixOfBlock(block), affinity: block.affinity };
    yield* this.others();
  }

  /** Counts on one more address of a block that has yet to be read; false: all it has are counted on. */
  promise({ cidr, free }: BlockSummary): boolean {
    const promised = this.#promised.get(cidr) ?? 0;
    if (promised >= free) return false;
    this.#promised.set(cidr, promised + 1);
    return true;
  }

  put(block: Block): void {
    this.#now.set(block.cidr, block);
  }

  remove(block: Block): void {
    this.#now.delete(block.cidr);
    this.#last.set(block.cidr, block);
  }

  save(): ReadonlyMap<string, Block> {
    return new Map(this.#now);
  }

  restore(saved: ReadonlyMap<string, Block>): void {
    this.#now = new Map(saved);
  }

  changes(): Change[] {
    const all = new Set([...this.#base.keys(), ...this.#now.keys()]);
    return [...all].flatMap((cidr) => {
      const [before, after] = [this.#base.get(cidr), this.#now.get(cidr)];
      if (before?.value === after) return [];
      const last = after ? undefined : this.#last.get(cidr);
      return [{ cidr, ...(before && { before }), ...(after && { after }), ...(last && { last }) }];
    });
  }
}

/** The view's whole blocks, each replaced by a later read. */
function latest(view: BlockView, reads: Reads): Map<string, Versioned<Block>> {
  const blocks = new Map<string, Versioned<Block>>();
  for (const block of view.mine()) blocks.set(block.value.cidr, block);
  for (const [cidr, read] of reads) {
    const seen = blocks.get(cidr);
    if (read && (!seen || seen.revision < read.revision)) blocks.set(cidr, read); // the view knows what is gone, and what was made since
  }
  return blocks;
}
