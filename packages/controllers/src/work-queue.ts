export interface WorkQueueOptions {
  /** Makes the key's thing match; called again later when it throws. */
  readonly settle: (key: string) => Promise<void>;
  readonly onError: (key: string, error: unknown, retryInMs: number) => void;
}

/** Keys under way at once: half of what one commit of the datastore takes. */
const CONCURRENCY = 64;

const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 30_000;

/**
 * Keys that need a look, each once however often it is named, some at a time. A key that is named while it is under way is
 * looked at again afterwards. Nothing happens unless `active`: replicas that do not lead keep quiet.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  /** Kept from key to key: a fresh one would pass over all that were deleted before, which is quadratic. */
  #next = this.#waiting.values();
  readonly #underWay = new Set<string>();
  /** Named while they were under way. */
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #idle: (() => void)[] = [];
  #active = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  add(keys: Iterable<string>): void {
    if (!this.#active) return; // whoever becomes active names everything
    for (const key of keys) (this.#underWay.has(key) ? this.#again : this.#waiting).add(key);
    this.#pump();
  }

  activate(keys: Iterable<string>): void {
    this.#active = true;
    this.add(keys);
  }

  /** Resolves when nothing is under way any more. */
  async deactivate(): Promise<void> {
    this.#active = false;
    this.#waiting.clear();
    this.#again.clear();
    this.#failures.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await this.settled();
  }

  /** Resolves when nothing waits and nothing is under way; keys that failed wait elsewhere. */
  settled(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  get size(): number {
    return this.#waiting.size + this.#underWay.size;
  }

  #pump(): void {
    while (this.#waiting.size > 0 && this.#underWay.size < CONCURRENCY) {
      const key = this.#take();
      this.#underWay.add(key);
      void this.#run(key);
    }
    if (this.size > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle = [];
  }

  /** The one that waits longest. */
  #take(): string {
    for (;;) {
      const { value, done } = this.#next.next();
      if (done)
        this.#next = this.#waiting.values(); // at its end once, at its end for ever
      else {
        this.#waiting.delete(value);
        return value;
      }
    }
  }

  async #run(key: string): Promise<void> {
    try {
      await this.#options.settle(key);
      this.#failures.delete(key);
    } catch (error) {
      if (this.#active) this.#retry(key, error);
    }
    this.#underWay.delete(key);
    if (this.#again.delete(key)) this.#waiting.add(key);
    this.#pump();
  }

  #retry(key: string, error: unknown): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const wait = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** failures);
    this.#options.onError(key, error, wait);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.add([key]);
    }, wait);
    this.#timers.add(timer);
  }
}
