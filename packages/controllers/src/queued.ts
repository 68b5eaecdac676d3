import type { DaemonContext, Troubles } from "@margay/daemon";
import { StoreError } from "@margay/datastore";
import { isTooLarge } from "./grouped.ts";
import type { Controller } from "./parts.ts";
import { WorkQueue } from "./work-queue.ts";

/** A list-watch or a mirror. */
interface Source {
  start(): Promise<unknown>;
  stop(): Promise<unknown>;
}

export interface QueuedOptions {
  readonly log: DaemonContext["log"];
  readonly troubles: Troubles;
  /** Of the line that says which key was not settled, and why. */
  readonly event: string;
  /** Whose work must be done before keys that `waits` names are settled. */
  readonly after?: Queued | undefined;
}

/** A controller whose work is keys: what it follows names those that need a look, and whoever begins to lead names all. */
export abstract class Queued implements Controller {
  abstract readonly name: string;
  abstract readonly waitsFor: () => string | undefined;
  protected readonly queue: WorkQueue;
  /** Until `after` is done. */
  readonly #putOff = new Set<string>();
  readonly #followers: (() => void)[] = [];

  protected constructor({ log, troubles, event, after }: QueuedOptions) {
    if (after) after.#followers.push(() => this.#resume());
    this.queue = new WorkQueue({
      settle: async (key) => {
        if (after && this.waits(key) && !after.isDone) return void this.#putOff.add(key);
        await this.settle(key);
        troubles.end(event);
      },
      onError: (key, error, retryInMs) => {
        if (!troubles.begin(event, error))
          log.warn({ event, key, err: error, retryInMs }, `${key}: ${messageOf(error)}`);
      },
      isLeft: (error) => error instanceof StoreError && !isTooLarge(error),
      onIdle: () => {
        if (this.isDone) for (const resume of this.#followers) resume();
      },
    });
  }

  /** Whether it leads, has read everything, and the datastore holds what follows from it. */
  get isDone(): boolean {
    return this.queue.isActive && this.waitsFor() === undefined && this.queue.size === 0;
  }

  #resume(): void {
    const keys = [...this.#putOff];
    this.#putOff.clear();
    this.queue.add(keys);
  }

  /** What it follows. */
  protected abstract sources(): readonly Source[];
  /** Every key that there is, on either side. */
  protected abstract all(): Iterable<string>;
  /** Whether it may be settled only once `after` is done. */
  protected waits(_key: string): boolean {
    return false;
  }
  /** Makes the key's thing match; called again later when it throws. */
  protected abstract settle(key: string): Promise<void>;

  start(): Promise<unknown> {
    return Promise.all(this.sources().map((source) => source.start()));
  }

  lead(): void {
    this.queue.activate(this.all());
  }

  follow(): Promise<void> {
    return this.queue.deactivate();
  }

  settled(): Promise<void> {
    return this.queue.settled();
  }

  async stop(): Promise<void> {
    await this.follow();
    await Promise.all(this.sources().map((source) => source.stop()));
  }
}

/** What an error says, without its class. */
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
