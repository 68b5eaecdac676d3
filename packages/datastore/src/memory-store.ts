import {
  alreadyExists,
  type Change,
  compacted,
  conflicting,
  type Entry,
  notFound,
  type Revision,
  refusalOf,
  type Store,
  StoreError,
  type Watch,
  type WatchEvent,
} from "./store.ts";

/** A fault for one coming write. */
export interface WriteFault {
  /** How many writes go through first. Default 0: the very next one fails. */
  readonly afterWrites?: number;
  /** Whether the failing write takes effect although its writer gets an error. */
  readonly when: "before" | "after";
  /** Default "unavailable". */
  readonly error?: Error;
}

/** A store within one process, with the faults of a real one on demand: for tests. */
export interface MemoryStore extends Store {
  /** Forgets the history up to `revision` (default: now). A watch from before gets "compacted". */
  compact(revision?: Revision): void;
  /** Makes one coming write fail; several faults may wait. A refused compare-and-swap counts as a write. */
  failNext(fault: WriteFault): void;
  /** Ends every open watch with "unavailable". */
  disconnect(): void;
  readonly revision: Revision;
}

interface Waiting {
  readonly fault: WriteFault;
  left: number;
}

/** The same semantics as `etcdStore`; one contract suite runs against both. */
export function memoryStore(): MemoryStore {
  const entries = new Map<string, Entry>();
  const expiries = new Map<string, NodeJS.Timeout>();
  const watches = new Set<MemoryWatch>();
  const faults: Waiting[] = [];
  const history: History = { events: [], compactedTo: 0, now: 1 };

  function record(event: WatchEvent): void {
    history.events.push(event);
    for (const watch of watches) watch.wake();
  }

  function expire(key: string, ttlSeconds: number | undefined): void {
    clearTimeout(expiries.get(key));
    expiries.delete(key);
    if (ttlSeconds === undefined) return;
    const timer = setTimeout(() => remove(key), ttlSeconds * 1000);
    expiries.set(key, timer.unref());
  }

  function set(key: string, value: string, { ttlSeconds, revision = history.now + 1 }: How = {}): Entry {
    const entry = { key, value, revision };
    history.now = revision;
    entries.set(key, entry);
    expire(key, ttlSeconds);
    record({ type: "put", entry });
    return entry;
  }

  function remove(key: string, revision = history.now + 1): boolean {
    if (!entries.delete(key)) return false;
    history.now = revision;
    expire(key, undefined);
    record({ type: "delete", key, revision });
    return true;
  }

  /** The watches wake after this turn, and so see all of it. */
  function commit(changes: readonly Change[]): Entry[] {
    const refused = changes
      .map((change) => refusalOf(change, entries.get(change.key)?.revision))
      .find((error) => error !== undefined);
    if (refused) throw refused;
    const revision = history.now + 1;
    return changes.flatMap((change) => {
      if (change.type !== "delete") return [set(change.key, change.value, { revision })];
      remove(change.key, revision);
      return [];
    });
  }

  /** Every write passes here, one at a time: the place of the faults. */
  async function write<T>(act: () => T): Promise<T> {
    await Promise.resolve();
    const due = faults.findIndex((waiting) => waiting.left === 0);
    const fault = due < 0 ? undefined : faults.splice(due, 1)[0]?.fault;
    for (const waiting of faults) waiting.left--;
    if (fault?.when === "before") throw faultError(fault);
    const result = act();
    if (fault?.when === "after") throw faultError(fault);
    return result;
  }

  return {
    get revision() {
      return history.now;
    },
    get: async (key) => entries.get(key),
    list: async (prefix) => ({
      entries: [...entries.values()].filter((entry) => entry.key.startsWith(prefix)).toSorted(byKey),
      revision: history.now,
    }),
    watch(prefix, afterRevision) {
      const watch = new MemoryWatch(history, prefix, afterRevision, () => watches.delete(watch));
      watches.add(watch);
      return watch;
    },
    create: (key, value, options) =>
      write(() => {
        if (entries.has(key)) throw alreadyExists(key);
        return set(key, value, options);
      }),
    update: (key, value, ifRevision) =>
      write(() => {
        const now = entries.get(key);
        if (now === undefined) throw notFound(key);
        if (now.revision !== ifRevision) throw conflicting(key, ifRevision);
        return set(key, value);
      }),
    put: (key, value, options) => write(() => set(key, value, options)),
    delete: (key, ifRevision) =>
      write(() => {
        const now = entries.get(key);
        if (now !== undefined && ifRevision !== undefined && now.revision !== ifRevision)
          throw conflicting(key, ifRevision);
        return remove(key);
      }),
    commit: (changes) => write(() => commit(changes)),
    close: async () => {
      for (const watch of watches) watch.close();
      for (const timer of expiries.values()) clearTimeout(timer);
    },
    compact(revision = history.now) {
      history.compactedTo = Math.max(history.compactedTo, revision);
      history.events = history.events.filter((event) => revisionOf(event) > revision);
      for (const watch of watches) watch.wake();
    },
    failNext: (fault) => void faults.push({ fault, left: fault.afterWrites ?? 0 }),
    disconnect() {
      for (const watch of watches)
        watch.fail(new StoreError("unavailable", "memory store: disconnected on demand"));
    },
  };
}

interface How {
  readonly ttlSeconds?: number;
  readonly revision?: Revision;
}

interface History {
  events: WatchEvent[];
  compactedTo: Revision;
  now: Revision;
}

/** A cursor into the shared history: a slow reader costs nothing. */
class MemoryWatch implements Watch {
  readonly #history: History;
  readonly #prefix: string;
  readonly #onEnd: () => void;
  #seen: Revision;
  #wake: () => void = () => {};
  #ended: { error?: Error } | undefined;

  constructor(history: History, prefix: string, afterRevision: Revision, onEnd: () => void) {
    this.#history = history;
    this.#prefix = prefix;
    this.#seen = afterRevision;
    this.#onEnd = onEnd;
  }

  wake(): void {
    this.#wake();
  }

  close(): void {
    this.#end({});
  }

  fail(error: Error): void {
    this.#end({ error });
  }

  #end(ended: { error?: Error }): void {
    this.#ended ??= ended;
    this.#onEnd();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly WatchEvent[]> {
    try {
      if (this.#ended === undefined) yield this.#next();
      while (this.#ended === undefined) {
        const events = this.#next();
        if (events.length > 0) yield events;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      if (this.#ended.error) throw this.#ended.error;
    } finally {
      this.close();
    }
  }

  #next(): WatchEvent[] {
    const { events, compactedTo, now } = this.#history;
    if (this.#seen < compactedTo) throw compacted(this.#seen);
    const from = events.findLastIndex((event) => revisionOf(event) <= this.#seen) + 1;
    this.#seen = now;
    return events.slice(from).filter((event) => keyOfEvent(event).startsWith(this.#prefix));
  }
}

/** The revision of a put or a delete. */
export const revisionOf = (event: WatchEvent): Revision =>
  event.type === "put" ? event.entry.revision : event.revision;

const keyOfEvent = (event: WatchEvent): string => (event.type === "put" ? event.entry.key : event.key);

const byKey = (a: Entry, b: Entry) => (a.key < b.key ? -1 : 1);

const faultError = (fault: WriteFault) =>
  fault.error ??
  new StoreError("unavailable", `memory store: write failed ${fault.when} taking effect, on demand`);
