import type { DaemonContext } from "@margay/daemon";
import type { Controller } from "./parts.ts";
import type { Troubles } from "./troubles.ts";
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
}

/** A controller whose work is keys: what it follows names those that need a look, and whoever begins to lead names all. */
export abstract class Queued implements Controller {
  abstract readonly name: string;
  abstract readonly waitsFor: () => string | undefined;
  protected readonly queue: WorkQueue;

  protected constructor({ log, troubles, event }: QueuedOptions) {
    this.queue = new WorkQueue({
      settle: async (key) => {
        await this.settle(key);
        troubles.end(event);
      },
      onError: (key, error, retryInMs) => {
        if (!troubles.begin(event, error))
          log.warn({ event, key, err: error, retryInMs }, `${key}: ${messageOf(error)}`);
      },
    });
  }

  /** What it follows. */
  protected abstract sources(): readonly Source[];
  /** Every key that there is, on either side. */
  protected abstract all(): Iterable<string>;
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
