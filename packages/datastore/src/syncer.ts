import {
  type Entry,
  type Listing,
  type Revision,
  type Store,
  StoreError,
  type Watch,
  type WatchEvent,
} from "./store.ts";

/** A key as it is now; without an entry it is gone. */
export interface SyncUpdate {
  readonly key: string;
  readonly entry?: Entry;
}

export interface SyncBatch {
  /** In the order of the store's history, except for what `observe` brought forward, and from part to part of the first list. */
  readonly updates: readonly SyncUpdate[];
  /** False until the last part of the first list: until then absence means nothing. */
  readonly inSync: boolean;
  /** Everything written up to here has been delivered. */
  readonly revision: Revision;
}

export type SyncStatus =
  | { readonly kind: "connected"; readonly revision: Revision }
  /** `relist`: the history since is gone, the next connection compares everything anew. */
  | {
      readonly kind: "disconnected";
      readonly error: StoreError;
      readonly relist: boolean;
      readonly retryInMs: number;
    };

export interface SyncerOptions {
  readonly store: Store;
  readonly prefix: string;
  /**
   * Must not throw. Nothing is read while it runs, nothing is queued: a slow consumer slows the watch down.
   */
  readonly onBatch: (batch: SyncBatch) => void;
  readonly onStatus?: (status: SyncStatus) => void;
  /** Resolves after `ms`, or early when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** In [0, 1): spreads the reconnects of many nodes. */
  readonly random?: () => number;
}

/** Keys in a batch of the first list: what is made of them dies young, and is not copied by the garbage collector. */
const BATCH = 500;

/** Least and largest wait before connecting again; up to half as much again is added at random. */
const MIN_RETRY_MS = 1000;
const MAX_RETRY_MS = 2000;

/**
 * List, then watch, for ever: one totally ordered stream of everything under a prefix.
 *
 *     list ──► watch ──► batch, batch, ...
 *      ▲         ▲ └─ unavailable: wait, watch from the last revision delivered
 *      └─────────┴─── compacted:   wait, list again and deliver the difference, deletes included
 */
export class Syncer {
  readonly #options: SyncerOptions;
  readonly #stop = new AbortController();
  /** Every key delivered and not deleted, with the revision delivered: what a listing is compared with. */
  readonly #known = new Map<string, Revision>();
  /** The store's own stream has been delivered up to here; undefined before the first list. */
  #revision: Revision | undefined;
  /** The history that those revisions belong to, and where it was when last listed, to the end or not. */
  #history: string | undefined;
  #listed: Revision | undefined;
  #mustList = true;
  #failures = 0;
  #watch: Watch | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SyncerOptions) {
    this.#options = options;
  }

  /**
   * The promise ends after `stop`; it rejects only when `onBatch` or `onStatus` threw, which should end the
   * process.
   */
  start(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** No batch is delivered after this resolves. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#watch?.close();
    await this.#running;
  }

  /**
   * Delivers one's own writes, in one batch, at once instead of after its way through the watch. The events themselves and older
   * ones for those keys are dropped when they come; a write that the stream has already passed is ignored.
   */
  observe(...entries: readonly Entry[]): void {
    const passed = this.#revision ?? 0;
    const fresh = this.#fresh(entries.filter(({ revision }) => revision > passed));
    if (fresh.length > 0) this.#deliver(fresh);
  }

  /** Whether the key is there, as far as was delivered. */
  knows(key: string): boolean {
    return this.#known.has(key);
  }

  /** How many keys are there, as far as was delivered. */
  get size(): number {
    return this.#known.size;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#mustList) await this.#list();
        await this.#follow();
      } catch (error) {
        if (!(error instanceof StoreError)) throw error; // a fault of ours or the consumer's: crash
        await this.#pause(error);
      }
    }
  }

  /** The first list is delivered as it comes: all of a large store at once, as text and as what it says, is more than memory should hold. */
  async #list(): Promise<void> {
    const unseen = new Set(this.#known.keys());
    let changed: Entry[] = [];
    const look = (part: Listing) => {
      this.#compareWith(part);
      for (const entry of part.entries) {
        unseen.delete(entry.key);
        if (entry.revision > this.#knownAt(entry.key)) changed.push(entry);
      }
    };
    const last = await this.#options.store.list(this.#options.prefix, (part) => {
      if (this.#stop.signal.aborted) return;
      look(part);
      if (this.#revision !== undefined) return;
      const fresh = this.#fresh(changed);
      for (let at = 0; at < fresh.length; at += BATCH) this.#deliver(fresh.slice(at, at + BATCH));
      changed = [];
    });
    if (this.#stop.signal.aborted) return;
    look(last);
    const gone = [...unseen].filter((key) => this.#knownAt(key) <= last.revision).map((key) => ({ key }));
    for (const { key } of gone) this.#known.delete(key);
    const fresh = this.#fresh(changed);
    this.#revision = last.revision;
    this.#mustList = false;
    this.#deliver([...gone, ...fresh]);
  }

  /** Those that `observe` has not overtaken meanwhile; from now on they are known. */
  #fresh(entries: readonly Entry[]): SyncUpdate[] {
    const fresh = entries.filter(({ key, revision }) => revision > this.#knownAt(key)).toSorted(byRevision);
    for (const { key, revision } of fresh) this.#known.set(key, revision);
    return fresh.map((entry) => ({ key: entry.key, entry }));
  }

  /** Revisions of another history cannot be compared with those we knew, nor those of a store restored from a backup. */
  #compareWith({ revision, history }: Listing): void {
    const isOther = this.#listed !== undefined && history !== this.#history;
    if (isOther || revision < Math.max(this.#revision ?? 0, this.#listed ?? 0)) this.#forgetRevisions();
    this.#history = history;
    this.#listed = revision;
  }

  #forgetRevisions(): void {
    for (const key of this.#known.keys()) this.#known.set(key, 0);
  }

  async #follow(): Promise<void> {
    this.#watch = this.#options.store.watch(this.#options.prefix, this.#revision ?? 0, this.#history);
    let connected = false;
    for await (const events of this.#watch) {
      if (this.#stop.signal.aborted) return;
      if (!connected) this.#options.onStatus?.({ kind: "connected", revision: this.#revision ?? 0 });
      connected = true;
      this.#failures = 0;
      const updates = events.flatMap((event) => this.#accept(event));
      if (updates.length > 0) this.#deliver(updates);
    }
  }

  /** Nothing for an event that `observe` has overtaken. */
  #accept(event: WatchEvent): SyncUpdate[] {
    const { key, revision } = event.type === "put" ? event.entry : event;
    this.#revision = revision;
    if (revision <= this.#knownAt(key)) return [];
    if (event.type === "delete") {
      this.#known.delete(key);
      return [{ key }];
    }
    this.#known.set(key, revision);
    return [{ key, entry: event.entry }];
  }

  #knownAt(key: string): Revision {
    return this.#known.get(key) ?? 0;
  }

  #deliver(updates: readonly SyncUpdate[]): void {
    this.#options.onBatch({ updates, inSync: this.#revision !== undefined, revision: this.#revision ?? 0 });
  }

  async #pause(error: StoreError): Promise<void> {
    const { onStatus, sleep, random = Math.random } = this.#options;
    if (this.#stop.signal.aborted) return;
    this.#mustList ||= error.code === "compacted";
    const backoff = Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** this.#failures++);
    const retryInMs = Math.round(backoff * (1 + random() / 2));
    onStatus?.({ kind: "disconnected", error, relist: this.#mustList, retryInMs });
    await sleep(retryInMs, this.#stop.signal);
  }
}

const byRevision = (a: Entry, b: Entry): number => a.revision - b.revision;
