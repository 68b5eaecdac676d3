import type { Entry, Revision, Store, WatchEvent } from "./store.ts";
import { StoreError } from "./store.ts";

/** A key as it is now; without an entry it is gone. */
export interface SyncUpdate {
  readonly key: string;
  readonly entry?: Entry;
}

export interface SyncBatch {
  /** In the order of the store's history. */
  readonly updates: readonly SyncUpdate[];
  /** False only for what `observe` brought before the first list: absence means nothing yet. */
  readonly inSync: boolean;
  /** Everything written up to here has been delivered. */
  readonly revision: Revision;
}

export type SyncStatus =
  | { readonly kind: "in-sync"; readonly revision: Revision }
  | { readonly kind: "relisting"; readonly why: string }
  | { readonly kind: "disconnected"; readonly error: unknown; readonly retryInMs: number };

export interface SyncerOptions {
  readonly store: Store;
  readonly prefix: string;
  /** Called with one batch at a time; a returned promise holds the stream back until it resolves. */
  readonly onBatch: (batch: SyncBatch) => void | Promise<void>;
  readonly onStatus?: (status: SyncStatus) => void;
  /** Resolves after `ms`, or early when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Least and largest wait between two connections to the store. */
const MIN_RETRY_MS = 1000;
const MAX_RETRY_MS = 10_000;

/**
 * List, then watch, for ever: one totally ordered stream of everything under a prefix. After a lost connection it goes on where it
 * stopped; after a compaction it lists again and delivers the difference, deletes included.
 */
export class Syncer {
  readonly #options: SyncerOptions;
  readonly #stop = new AbortController();
  /** Every key that has been delivered and not deleted, with the revision delivered: what a relist is compared with. */
  readonly #known = new Map<string, Revision>();
  /** Up to here the store's own stream has been delivered; undefined before the first list. */
  #revision: Revision | undefined;
  #mustList = true;
  #failures = 0;
  #watch: { close(): void } | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** No batch is delivered after this resolves. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#watch?.close();
    await this.#running;
  }

  /**
   * Delivers one's own write at once instead of after its way through the watch; the event, and any older one for that key, is then
   * dropped. A write that the stream has already passed is ignored.
   */
  observe(entry: Entry): void {
    if (entry.revision <= (this.#revision ?? 0) || entry.revision <= (this.#known.get(entry.key) ?? 0))
      return;
    this.#known.set(entry.key, entry.revision);
    void this.#deliver([{ key: entry.key, entry }]);
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#mustList) await this.#list();
        await this.#follow();
      } catch (error) {
        await this.#recover(error);
      }
    }
  }

  async #list(): Promise<void> {
    const { entries, revision } = await this.#options.store.list(this.#options.prefix);
    const present = new Set(entries.map((entry) => entry.key));
    const gone = [...this.#known]
      .filter(([key, at]) => !present.has(key) && at <= revision)
      .map(([key]) => ({ key }));
    const changed = entries.filter((entry) => entry.revision > (this.#known.get(entry.key) ?? 0));
    for (const { key } of gone) this.#known.delete(key);
    for (const entry of changed) this.#known.set(entry.key, entry.revision);
    this.#revision = revision;
    this.#mustList = false;
    await this.#deliver([...gone, ...changed.map((entry) => ({ key: entry.key, entry }))]);
    this.#options.onStatus?.({ kind: "in-sync", revision });
  }

  async #follow(): Promise<void> {
    const watch = this.#options.store.watch(this.#options.prefix, this.#revision ?? 0);
    this.#watch = watch;
    for await (const events of watch) {
      if (this.#stop.signal.aborted) return;
      this.#failures = 0;
      const updates = events.flatMap((event) => this.#accept(event));
      if (updates.length > 0) await this.#deliver(updates);
    }
  }

  #accept(event: WatchEvent): SyncUpdate[] {
    const key = event.type === "put" ? event.entry.key : event.key;
    const revision = event.type === "put" ? event.entry.revision : event.revision;
    this.#revision = revision;
    if (revision <= (this.#known.get(key) ?? 0)) return [];
    if (event.type === "put") {
      this.#known.set(key, revision);
      return [{ key, entry: event.entry }];
    }
    this.#known.delete(key);
    return [{ key }];
  }

  async #deliver(updates: readonly SyncUpdate[]): Promise<void> {
    await this.#options.onBatch({
      updates,
      inSync: this.#revision !== undefined,
      revision: this.#revision ?? 0,
    });
  }

  async #recover(error: unknown): Promise<void> {
    if (this.#stop.signal.aborted) return;
    if (error instanceof StoreError && error.code === "compacted") {
      this.#mustList = true;
      this.#options.onStatus?.({ kind: "relisting", why: error.message });
    }
    const retryInMs = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** this.#failures++);
    this.#options.onStatus?.({ kind: "disconnected", error, retryInMs });
    await this.#options.sleep(retryInMs, this.#stop.signal);
  }
}
