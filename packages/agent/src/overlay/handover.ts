import type { Reached } from "@margay/calc";
import { formatPrefix } from "@margay/net";

/** So long both daemons have a route while one takes over from the other: the datastore's word reaches them apart. */
export const HANDOVER_MS = 3000;

interface Former {
  readonly reached: Reached;
  /** Since when it is no longer ours; undefined while it is. */
  leftAt?: number;
}

/**
 * Ways that the agent gives up stay a while longer when bgpd takes them over, as BGP's route has to be there first.
 * The other direction needs nothing: bgpd keeps its own as long, and ours is the better one.
 */
export class Handover {
  readonly #former = new Map<string, Former>();

  /** The same list, with what is being handed over as it was before. Milliseconds of any clock. */
  keep(reached: readonly Reached[], now: number): readonly Reached[] {
    const kept = reached.map((one) => this.#keep(one, now));
    const blocks = new Set(reached.map(({ block }) => formatPrefix(block)));
    for (const block of this.#former.keys()) if (!blocks.has(block)) this.#former.delete(block);
    return kept;
  }

  /** Whether something is being handed over, and `keep` must be asked again. */
  get isOpen(): boolean {
    return [...this.#former.values()].some(({ leftAt }) => leftAt !== undefined);
  }

  #keep(one: Reached, now: number): Reached {
    const block = formatPrefix(one.block);
    if (one.daemon === "agent") {
      this.#former.set(block, { reached: one });
      return one;
    }
    const former = this.#former.get(block);
    if (former?.reached.node === one.node) {
      former.leftAt ??= now;
      if (now - former.leftAt < HANDOVER_MS) return former.reached;
    }
    this.#former.delete(block);
    return one;
  }
}
