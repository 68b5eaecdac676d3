import type { ReleaseReason } from "@margay/api";
import { deleteBlock, readBlock, releaseAffinity } from "./affinity.ts";
import { Batches, type Served } from "./batches.ts";
import type { Held } from "./block.ts";
import { IpamError } from "./errors.ts";
import { type Evidence, type Garbage, garbage } from "./garbage.ts";
import type { Along } from "./joint.ts";
import { failureOf, type IpamOptions, siteOf } from "./options.ts";
import type { Sequenced } from "./plan.ts";
import { parsePools } from "./pools.ts";
import { takeEmpty } from "./take-empty.ts";
import { isDisposable, surplusBlocks } from "./tidy.ts";
import { type AssignRequest, worldOf } from "./world.ts";

/** One address given to a handle. */
export type Assignment = Held;
/** One address taken back. */
export type Released = Held;

interface Why {
  readonly reason?: ReleaseReason;
}

/** Addresses for one node, and the care of its blocks. What is asked for is served in `Batches`. */
export class Ipam {
  readonly #options: IpamOptions;
  readonly #batches: Batches;
  /** Own blocks that `tidy` found empty. */
  #empty: ReadonlySet<string> = new Set();

  constructor(options: IpamOptions) {
    this.#options = options;
    this.#batches = new Batches(options);
  }

  /** Addresses for a handle, one per family, all or none; the same handle gets the same again. Throws IpamError. */
  async assign(request: AssignRequest): Promise<readonly Assignment[]> {
    return (await this.#assign(request)).held;
  }

  /**
   * The same, writing something else in the same transaction: both or neither, if the addresses are from this node's own
   * blocks and nothing stands against what goes along. Else `wroteAlong` is false, and writing it is left to the caller.
   */
  assignWith(request: AssignRequest, along: Along): Promise<Served> {
    return this.#assign(request, along);
  }

  async #assign(request: AssignRequest, along?: Along): Promise<Served> {
    const ask = () => this.#batches.submit({ kind: "assign", ...request }, along);
    try {
      return await ask();
    } catch (error) {
      if (!(await this.#tookEmpty(error))) throw error;
      return ask();
    }
  }

  /** Whether a pool that had no block left has one again: another node's empty one. */
  async #tookEmpty(error: unknown): Promise<boolean> {
    if (!(error instanceof IpamError) || error.failure.code !== "pool-exhausted") return false;
    const { why, pool } = error.failure;
    if (why !== "strict") return false; // else one would have been borrowed from, or could not be claimed
    const names = pool.split(", ");
    const all = parsePools(this.#options.pools());
    const pools = all.filter(({ name }) => names.includes(name));
    const cidr = await siteOf(this.#options)
      .then((site) => takeEmpty(site, { pools, all }))
      .catch((failed) => {
        throw failureOf(this.#options.node, failed);
      });
    if (cidr !== undefined) this.#options.onEvent?.({ kind: "block-returned", cidr });
    return cidr !== undefined;
  }

  /** Frees all addresses of a handle; none is success. */
  async release(which: { handle: string; reason?: ReleaseReason }): Promise<readonly Released[]> {
    const { held } = await this.#batches.submit({ kind: "release", reason: "requested", ...which });
    return held;
  }

  /** Frees one address if it still carries the sequence number the caller saw; false: it does not. */
  async releaseAddress({ reason = "requested", ...one }: Sequenced & Why): Promise<boolean> {
    const { held } = await this.#batches.submit({ kind: "release-addresses", which: [one], reason });
    return held.length > 0;
  }

  /** Frees what `garbage` found: all addresses of a handle, or none if one of them has changed hands since. */
  async collect(found: readonly Garbage[]): Promise<readonly Released[]> {
    const freed = found.map(({ addresses: which, reason }) =>
      this.#batches.submit({ kind: "release-addresses", which, reason, together: true }),
    );
    return (await Promise.all(freed)).flatMap(({ held }) => held);
  }

  /** This node's garbage, as far as the view shows; frees nothing. */
  async garbage(evidence: Evidence): Promise<Garbage[]> {
    const { view } = await siteOf(this.#options);
    return garbage(
      [...view.mine()].map(({ value }) => value),
      evidence,
    );
  }

  /** Gives one of this node's blocks back; see `releaseAffinity`. */
  async releaseBlock(cidr: string): Promise<void> {
    await releaseAffinity(await siteOf(this.#options), cidr);
    this.#options.onEvent?.({ kind: "block-returned", cidr });
  }

  /**
   * Gives back blocks that were empty the last time, too, and deletes those that nobody owns and nobody uses. To be
   * called every few minutes. Answers what was given back.
   */
  async tidy(): Promise<readonly string[]> {
    const { view } = await siteOf(this.#options);
    const { surplus, empty, ownerless } = surplusBlocks(worldOf(this.#options, view, new Map()), this.#empty);
    for (const cidr of surplus) await this.releaseBlock(cidr);
    for (const { cidr } of ownerless) await this.#deleteOwnerless(cidr);
    this.#empty = empty;
    return surplus;
  }

  async #deleteOwnerless(cidr: string): Promise<void> {
    const site = await siteOf(this.#options);
    const block = await readBlock(site, cidr);
    if (
      block &&
      block !== "corrupt" &&
      isDisposable(worldOf(this.#options, site.view, new Map()), block.spec)
    )
      await deleteBlock(site, block.spec, block.revision);
  }
}
