import { Pace } from "./pace.ts";

/** Turns of work: asked for any number of times, taken one at a time, as soon as the pace allows. */
export class Turns {
  readonly #work: () => boolean;
  readonly #onAsked: () => void;
  readonly #pace = new Pace();
  #isDue = false;
  #isStopped = false;

  /** `work` answers whether it owes more; then the next turn follows at once. `onAsked` hears of all that comes, however late its turn. */
  constructor(work: () => boolean, onAsked = () => {}) {
    this.#work = work;
    this.#onAsked = onAsked;
  }

  /** One was asked for and has not begun. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** A session came up: others may follow it (`Pace`). */
  arrived(): void {
    this.#pace.arrived(performance.now());
  }

  ask(): void {
    this.#onAsked();
    if (this.#isDue || this.#isStopped) return;
    this.#isDue = true;
    this.#begin();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #begin(): void {
    const wait = this.#pace.wait(performance.now());
    if (wait < 1) setImmediate(() => this.#take());
    else setTimeout(() => this.#begin(), wait);
  }

  #take(): void {
    this.#isDue = false;
    if (this.#isStopped) return;
    const began = performance.now();
    const before = process.cpuUsage();
    const owesMore = this.#work();
    const { user, system } = process.cpuUsage(before); // microseconds
    this.#pace.worked((user + system) / 1000, { began, now: performance.now(), owesMore });
    if (owesMore) this.ask();
  }
}
