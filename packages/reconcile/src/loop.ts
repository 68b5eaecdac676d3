/** What a loop needs from the outside: this package has no clock. */
export interface LoopOptions {
  /** One pass. A throw is reported and retried after a backoff. */
  readonly pass: () => Promise<void>;
  /** Resolves after `ms`, or early when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly onError: (error: unknown, retryInMs: number) => void;
  /** First and largest wait after failures, doubling between. Default 100 and 10,000 ms. */
  readonly minBackoffMs?: number;
  readonly maxBackoffMs?: number;
}

/**
 * Runs passes one at a time. Any number of triggers during a pass make exactly one more pass; a
 * trigger during a backoff waits for its end, so that a broken world is not hammered.
 */
export class Loop {
  readonly #options: LoopOptions;
  readonly #stop = new AbortController();
  #dirty = false;
  #failures = 0;
  #running: Promise<void> | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  /** Something changed: run a pass, now or right after the one under way. */
  trigger(): void {
    this.#dirty = true;
    if (!this.#stop.signal.aborted) this.#running ??= this.#run();
  }

  /** Resolves when no pass is under way and none is due. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** No further pass; resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // let the triggers of this turn coalesce
    while (this.#dirty && !this.#stop.signal.aborted) {
      this.#dirty = false;
      await this.#once();
    }
    this.#running = undefined;
  }

  async #once(): Promise<void> {
    const { pass, sleep, onError, minBackoffMs = 100, maxBackoffMs = 10_000 } = this.#options;
    try {
      await pass();
      this.#failures = 0;
    } catch (error) {
      const wait = Math.min(maxBackoffMs, minBackoffMs * 2 ** this.#failures++);
      onError(error, wait);
      this.#dirty = true;
      await sleep(wait, this.#stop.signal);
    }
  }
}
