import type { Troubles } from "@margay/daemon";
import { type Entry, type Store, Syncer } from "@margay/datastore";

export interface MirrorOptions<S> {
  readonly store: Store;
  readonly prefix: string;
  /** What is kept of an entry. */
  readonly keep: (entry: Entry) => S;
  /** No keys: connected. `first`: from now on all is known; what was put off until then is due. */
  readonly onChange: (keys: readonly string[], first: boolean) => void;
  readonly troubles: Troubles;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
}

/** The datastore's entries under a prefix, as far as they matter here. */
export class Mirror<S> {
  readonly #kept = new Map<string, S>();
  readonly #syncer: Syncer;
  #synced = false;
  #connected = false;
  readonly #whole = Promise.withResolvers<void>();

  constructor({ keep, onChange, troubles, ...options }: MirrorOptions<S>) {
    const { prefix } = options;
    this.#syncer = new Syncer({
      ...options,
      onStatus: (status) => {
        this.#connected = status.kind === "connected";
        if (status.kind === "disconnected") return void troubles.begin(prefix, status.error);
        troubles.end(prefix);
        onChange([], false);
      },
      onBatch: ({ updates, inSync }) => {
        for (const { key, entry } of updates)
          if (entry) this.#kept.set(key, keep(entry));
          else this.#kept.delete(key);
        const first = inSync && !this.#synced;
        this.#synced ||= inSync;
        if (first) this.#whole.resolve();
        onChange(
          updates.map(({ key }) => key),
          first,
        );
      },
    });
  }

  /** Why what is known is not all there is; `what` is the kind, for people. */
  waitsFor(what: string): string | undefined {
    return this.#synced ? undefined : `${what} have not been read from the datastore yet`;
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** Whether all was read, and what is written now comes at once. */
  get isCurrent(): boolean {
    return this.#synced && this.#connected;
  }

  /** Resolves when all has been read once; never, if it never is. */
  get whenSynced(): Promise<void> {
    return this.#whole.promise;
  }

  get(key: string): S | undefined {
    return this.#kept.get(key);
  }

  entries(): IterableIterator<[string, S]> {
    return this.#kept.entries();
  }

  /** One's own write, before the watch brings it. */
  observe(entry: Entry): void {
    this.#syncer.observe(entry);
  }

  /** Rejects only for a fault of the program. */
  start(): Promise<void> {
    return this.#syncer.start();
  }

  stop(): Promise<void> {
    return this.#syncer.stop();
  }
}
