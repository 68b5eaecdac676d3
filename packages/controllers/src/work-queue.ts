export interface WorkQueueOptions {
  /** Makes the key's thing match; called again later when it throws. */
  readonly settle: (key: string) => Promise<void>;
  readonly onError: (key: string, error: unknown, retryInMs: number) => void;
  /** Keys under way at once. */
  readonly concurrency?: number;
}

const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 30_000;

/**
 * Keys that need a look, each once however often it is named, some at a time. A key that is named while it is under way is
 * looked at again afterwards. Nothing happens unless `active`: replicas that do not lead keep quiet.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #underWay = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #idle: (() => void)[] = [];
  #active = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  add(keys: Iterable<string>): void {
    if (!this.#active) return; // whoever becomes active names everything
    for (const key of keys) this.#waiting.add(key);
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
    for (const key of this.#waiting) {
      if (this.#underWay.size >= (this.#options.concurrency ?? 16)) break;
      if (this.#underWay.has(key)) continue;
      this.#waiting.delete(key);
      this.#underWay.add(key);
      void this.#run(key);
    }
    if (this.size > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle = [];
  }

  async #run(key: string): Promise<void> {
    try {
      await this.#options.settle(key);
      this.#failures.delete(key);
    } catch (error) {
      if (this.#active) this.#retry(key, error);
    }
    this.#underWay.delete(key);
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
