/**
 * When turns of work may begin. A turn writes to every peer that is owed something, so its price is mostly that of its
 * writes, however little is in each: turns that follow each other at once would do nothing else.
 *
 *     turn ─ pause: as long as it took ─▶ turn ─ pause: nine times that, while sessions come up ─▶ turn
 *
 * A reflector that starts cold so tells its clients most of what the others feed in one write, and meanwhile has its time for
 * those who want to connect. All times are milliseconds.
 */

/** When a turn was; `owesMore`: more of the same is due at once. */
interface Turn {
  readonly began: number;
  readonly now: number;
  readonly owesMore: boolean;
}

/** Asked with times of a clock that only goes forward. */
export class Pace {
  #notBefore = 0;
  #gatherUntil = 0;
  #arrivedAt = Number.NEGATIVE_INFINITY;
  #spent = 0;

  /** A session came up: others may follow it. */
  arrived(now: number): void {
    this.#arrivedAt = now;
  }

  /**
   * A turn is over in which the process took so much CPU time: what others take of the machine is no reason to wait. Nor is what
   * V8 compiles in other threads, which the kernel may book all at once; so no turn counts for longer than it was.
   */
  worked(cpu: number, { began, now, owesMore }: Turn): void {
    this.#spent += Math.min(cpu, now - began);
    if (owesMore) return;
    this.#notBefore = this.#spent < cheap ? now : now + Math.min(this.#spent, longestPause);
    this.#gatherUntil = now + Math.min(this.#spent * gatherShare, longestGathering);
    this.#spent = 0;
  }

  /** How long the next turn is to wait still; asked again then, since sessions may have come up. */
  wait(now: number): number {
    const gathering = Math.min(this.#gatherUntil, this.#arrivedAt + quiet);
    return Math.max(0, Math.max(this.#notBefore, gathering) - now);
  }
}

/** What changes one at a time, to few peers, waits for nothing. */
const cheap = 5;

const longestPause = 20;

/** While sessions come up, writing takes a tenth of the time. */
const gatherShare = 9;

/** Sessions that keep coming up hold a change back for no longer than this (FRR's coalesce-time: 1,000). */
const longestGathering = 500;

/** When none has come up for so long, none is waited for. */
const quiet = 30;
