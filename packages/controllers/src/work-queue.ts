export interface WorkQueueOptions {
  /** Makes the key's thing match; called again later when it throws. */
  readonly settle: (key: string) => Promise<void>;
  readonly onError: (key: string, error: unknown, retryInMs: number) => void;
  /** Whether a key that failed so counts as work that is left, also while it waits for its next try. */
  readonly isLeft?: (error: unknown) => boolean;
  /** Nothing is left for now. */
  readonly onIdle?: () => void;
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
  /** Those of which `isLeft` is true. */
  readonly #left = new Set<string>();
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
    this.#left.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await this.settled();
  }

  get isActive(): boolean {
    return this.#active;
  }

  /** Resolves when nothing is left; of the keys that failed only some are, as `isLeft` says. */
  settled(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  get size(): number {
    return this.#waiting.size + this.#underWay.size + this.#left.size;
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
    this.#options.onIdle?.();
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
      this.#left.delete(key);
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
    if (this.#options.isLeft?.(error)) this.#left.add(key);
    else this.#left.delete(key);
    const wait = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** failures);
    this.#options.onError(key, error, wait);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.add([key]);
    }, wait);
    this.#timers.add(timer);
  }
}
