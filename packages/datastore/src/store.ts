/**
 * Position in the store's one history; grows with every write. Fits a double: etcd would need centuries to
 * pass 2^53.
 */
export type Revision = number;

/** A key as last written. */
export interface Entry {
  readonly key: string;
  readonly value: string;
  /** When it was last written: what `update` and `delete` compare with. */
  readonly revision: Revision;
}

export type WatchEvent =
  | { readonly type: "put"; readonly entry: Entry }
  | { readonly type: "delete"; readonly key: string; readonly revision: Revision };

/**
 * Batches of events in order of revision, each exactly once; the events of one revision are never split over
 * batches. The first batch may be empty: it says that the watch stands. Iteration ends after `close`, and
 * throws `StoreError` "compacted" (relist) or "unavailable", "unauthorized" or "denied" (watch again from
 * the last revision seen). A slow reader is not buffered for without bound: it is held back, and in the end gets
 * "compacted".
 */
export interface Watch extends AsyncIterable<readonly WatchEvent[]> {
  close(): void;
}

export interface WriteOptions {
  /** The key vanishes by itself after so many seconds; at least 1. */
  readonly ttlSeconds?: number;
}

export interface Listing {
  /** In order of key. */
  readonly entries: readonly Entry[];
  /** The one revision at which all of it was true; `watch` from here misses nothing. */
  readonly revision: Revision;
  /** Which history these revisions count, if the store can say: those of another cannot be compared with them. */
  readonly history?: string;
}

/** One write of several. `create` wants the key absent, a revision wants it as it was then. */
export type Change =
  | { readonly type: "create"; readonly key: string; readonly value: string }
  | { readonly type: "update"; readonly key: string; readonly value: string; readonly ifRevision: Revision }
  | { readonly type: "delete"; readonly key: string; readonly ifRevision?: Revision };

/** Changes in one commit: below the 128 that etcd takes unless told otherwise (--max-txn-ops). */
export const MAX_CHANGES = 120;

/**
 * An ordered key-value history with compare-and-swap. Every method may also throw `StoreError` "unavailable",
 * "unauthorized" or "denied"; after "unavailable" a write may or may not have taken effect.
 */
export interface Store {
  get(key: string): Promise<Entry | undefined>;
  /**
   * All keys of a prefix. To `onPart` a store may hand over a large listing in parts, in order of key and of one revision; what it
   * handed over is not in the answer.
   */
  list(prefix: string, onPart?: (part: Listing) => void): Promise<Listing>;
  /** Throws "compacted" also where another history answers than `history`. */
  watch(prefix: string, afterRevision: Revision, history?: string): Watch;
  /** Throws "exists". */
  create(key: string, value: string, options?: WriteOptions): Promise<Entry>;
  /**
   * Writes only if the key is still at `ifRevision`. Throws "conflict", or "not-found". A time to live ends
   * with it.
   */
  update(key: string, value: string, ifRevision: Revision): Promise<Entry>;
  /** Writes whatever is there. */
  put(key: string, value: string, options?: WriteOptions): Promise<Entry>;
  /** False when there was nothing to delete. Throws "conflict" when the key is no longer at `ifRevision`. */
  delete(key: string, ifRevision?: Revision): Promise<boolean>;
  /**
   * All of them or none, at one revision; each key once, at most MAX_CHANGES. A delete without a revision never
   * refuses. Throws "exists", "conflict" or "not-found" with the key of the first that is refused.
   * @returns what was written, in order, without the deletes
   */
  commit(changes: readonly Change[]): Promise<readonly Entry[]>;
  close(): Promise<void>;
}

export type StoreErrorCode =
  | "exists"
  | "conflict"
  | "not-found"
  | "compacted"
  | "too-large"
  | "unavailable"
  | "unauthorized" // who asks is not let in, or one side does not trust the other's certificate
  | "denied"; // let in, without a role for the key

/** What a store refuses or cannot do: `code` for programs, the message for people. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  readonly key?: string;

  constructor(code: StoreErrorCode, message: string, facts: { key?: string; cause?: unknown } = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    if (facts.key !== undefined) this.key = facts.key;
  }
}

export const alreadyExists = (key: string) => new StoreError("exists", `${key} already exists`, { key });

export const notFound = (key: string) => new StoreError("not-found", `${key} does not exist`, { key });

export const conflicting = (key: string, ifRevision: Revision) =>
  new StoreError("conflict", `${key} was changed since revision ${ifRevision}: read it again and retry`, {
    key,
  });

/** Why a change is refused while its key is at `now` (undefined: absent); undefined when it is not. */
export function refusalOf(change: Change, now: Revision | undefined): StoreError | undefined {
  const { key } = change;
  if (change.type === "create") return now === undefined ? undefined : alreadyExists(key);
  if (change.ifRevision === undefined || now === change.ifRevision) return undefined;
  return now === undefined ? notFound(key) : conflicting(key, change.ifRevision);
}

export const otherHistory = () =>
  new StoreError("compacted", "another etcd cluster answers than the one that was listed: list again");

export const compacted = (afterRevision: Revision) =>
  new StoreError("compacted", `revision ${afterRevision} is compacted: list again`);
