/** Runs something soon after it is asked for: at once what comes together, and again no sooner than a pause after the last time. */
export class Paced {
  readonly #pauseMs: number;
  readonly #run: (why: string) => void;
  #pending: NodeJS.Timeout | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(pauseMs: number, run: (why: string) => void) {
    this.#pauseMs = pauseMs;
    this.#run = run;
  }

  /** The first reason of those that come together is given. */
  ask(why: string): void {
    if (this.#pending) return;
    const wait = Math.max(0, this.#lastAt + this.#pauseMs - performance.now());
    this.#pending = setTimeout(() => {
      this.#pending = undefined;
      this.#lastAt = performance.now();
      this.#run(why);
    }, wait);
  }

  /** What was asked for is not run any more. */
  close(): void {
    clearTimeout(this.#pending);
  }
}
