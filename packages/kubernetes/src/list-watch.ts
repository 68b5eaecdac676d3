import type { ApiServer } from "./api-server.ts";
import { KubernetesError, refusal, type Status } from "./errors.ts";
import { linesOf } from "./lines.ts";
import { type KubernetesObject, nameOf } from "./objects.ts";

/** One object of the cache that changed; without a value it is gone. */
export interface Change<T> {
  /** "namespace/name", or "name". */
  readonly name: string;
  readonly value?: T;
}

export type WatchStatus =
  | { readonly kind: "connected" }
  | { readonly kind: "disconnected"; readonly error: KubernetesError; readonly retryInMs: number };

export interface ListWatchOptions<T> {
  readonly server: ApiServer;
  /** Such as /api/v1/pods. */
  readonly path: string;
  readonly query?: { readonly fieldSelector?: string; readonly labelSelector?: string };
  readonly metadataOnly?: boolean;
  /** What is kept of an object; undefined: as if it were not there. Must not throw. */
  readonly keep: (object: KubernetesObject) => T | undefined;
  /** The cache has changed so; `synced` once it has held everything. Must not throw. */
  readonly onChange: (changes: readonly Change<T>[], synced: boolean) => void;
  readonly onStatus?: (status: WatchStatus) => void;
  /** Resolves after `ms`, or early when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Objects in one answer to a list. Default 500. */
  readonly pageSize?: number;
}

interface Kept<T> {
  readonly version: string | undefined;
  readonly value: T | undefined;
}

/** Between two connections at least so long, and up to half as much again at random; doubling while they fail. */
const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 15_000;
/** The server ends a watch after so long, and we do a little later if it has not. */
const WATCH_SECONDS = 300;
const OVERDUE_MS = 15_000;
/** A page of a list may take so long: a slow API server is not a dead one. */
const PAGE_TIMEOUT_MS = 60_000;

/**
 * All objects of one kind, for ever: list in pages, then watch. What a lost connection, a restart of the API server or a
 * forgotten history bring is compared with what is known, so that only differences get out.
 *
 *     list ──► watch ──► changes, changes, ...
 *      ▲         ▲ └─ ended, cut, 5xx, 429:  pause, watch from the last version seen
 *      └─────────┴─── 410 Gone:              pause, list; vanished objects are told as deleted
 */
export class ListWatch<T> {
  readonly #options: ListWatchOptions<T>;
  readonly #kept = new Map<string, Kept<T>>();
  readonly #stop = new AbortController();
  /** Watch from here; undefined: list. */
  #version: string | undefined;
  #synced = false;
  #failures = 0;
  #connectedAt = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;

  constructor(options: ListWatchOptions<T>) {
    this.#options = options;
  }

  /** Rejects only when a callback threw, which should end the process. */
  start(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Whether everything there was has been seen once. */
  get synced(): boolean {
    return this.#synced;
  }

  get(name: string): T | undefined {
    return this.#kept.get(name)?.value;
  }

  *entries(): Generator<[string, T]> {
    for (const [name, { value }] of this.#kept) if (value !== undefined) yield [name, value];
  }

  get size(): number {
    return this.#kept.size;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#pace();
      if (this.#stop.signal.aborted) return;
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch();
      } catch (error) {
        if (!(error instanceof KubernetesError)) throw error; // a fault of ours or the consumer's: crash
        await this.#pause(error);
      }
    }
  }

  /** A watch that ends at once is as good as one that failed: at most one connection a second. */
  async #pace(): Promise<void> {
    const { now, sleep, random } = this.#options;
    const wait = this.#connectedAt + MIN_PAUSE_MS * (1 + random() / 2) - now();
    if (wait > 0) await sleep(wait, this.#stop.signal);
    this.#connectedAt = now();
  }

  async #pause(error: KubernetesError): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const { onStatus, sleep, random } = this.#options;
    if (error.code === "expired") this.#version = undefined;
    const backoff = Math.min(MAX_PAUSE_MS, MIN_PAUSE_MS * 2 ** this.#failures++);
    const retryInMs = Math.round(Math.max(backoff, error.retryAfterMs ?? 0) * (1 + random() / 2));
    onStatus?.({ kind: "disconnected", error, retryInMs });
    await sleep(retryInMs, this.#stop.signal);
  }

  /** Pages take effect as they come; what none of them had is gone at the end. */
  async #list(): Promise<void> {
    const { server, path, query, metadataOnly, pageSize = 500 } = this.#options;
    const seen = new Set<string>();
    let token: string | undefined;
    let version: string | undefined;
    do {
      const page = (await server.call({
        path,
        query: { ...query, limit: `${pageSize}`, ...(token && { continue: token }) },
        ...(metadataOnly && { metadataOnly }),
        timeoutMs: PAGE_TIMEOUT_MS,
        signal: this.#stop.signal,
      })) as Page;
      if (this.#stop.signal.aborted) return;
      const items = page.items ?? [];
      for (const item of items) seen.add(nameOf(item));
      token = page.metadata?.continue || undefined;
      version ??= page.metadata?.resourceVersion;
      this.#deliver(items.flatMap((item) => this.#accept(item)));
    } while (token !== undefined);
    const gone = [...this.#kept.keys()].filter((name) => !seen.has(name));
    for (const name of gone) this.#kept.delete(name);
    const isFirst = !this.#synced;
    this.#synced = true;
    this.#version = version ?? "0";
    this.#deliver(
      gone.map((name) => ({ name })),
      isFirst,
    );
  }

  async #watch(): Promise<void> {
    const { server, path, query, metadataOnly, onStatus } = this.#options;
    const overdue = AbortSignal.timeout(WATCH_SECONDS * 1000 + OVERDUE_MS);
    const signal = AbortSignal.any([this.#stop.signal, overdue]);
    const stream = await server.stream({
      path,
      query: {
        ...{ ...query, watch: "1", allowWatchBookmarks: "true" },
        ...{ timeoutSeconds: `${WATCH_SECONDS}`, resourceVersion: this.#version ?? "0" },
      },
      ...(metadataOnly && { metadataOnly }),
      signal,
    });
    onStatus?.({ kind: "connected" });
    try {
      for await (const lines of linesOf(stream)) {
        if (this.#stop.signal.aborted) return;
        this.#failures = 0;
        this.#take(lines);
      }
    } catch (error) {
      if (error instanceof KubernetesError || isConsumerFault(error)) throw error;
      if (this.#stop.signal.aborted || overdue.aborted) return;
      throw new KubernetesError("unavailable", `watch of ${path}: ${(error as Error).message}`, {
        cause: error,
      });
    } finally {
      stream.destroy();
    }
  }

  /** A faulty line ends the watch; what came before it has taken effect. */
  #take(lines: readonly string[]): void {
    const changes: Change<T>[] = [];
    try {
      for (const line of lines) changes.push(...this.#event(line));
    } finally {
      this.#deliver(changes);
    }
  }

  #event(line: string): Change<T>[] {
    const { type, object } = eventOf(line, this.#options.path);
    if (type === "ERROR") throw refusal(`watch of ${this.#options.path}`, object as Status);
    const thing = object as KubernetesObject;
    const version = thing.metadata.resourceVersion;
    const changes = type === "BOOKMARK" ? [] : type === "DELETED" ? this.#remove(thing) : this.#accept(thing);
    if (version !== undefined) this.#version = version;
    return changes;
  }

  /** Nothing for what is known already: a relist and a repeated event bring mostly that. */
  #accept(object: KubernetesObject): Change<T>[] {
    const name = nameOf(object);
    const version = object.metadata.resourceVersion;
    const known = this.#kept.get(name);
    if (known !== undefined && version !== undefined && known.version === version) return [];
    const value = this.#options.keep(object);
    this.#kept.set(name, { version, value });
    if (value === undefined) return known?.value === undefined ? [] : [{ name }];
    return [{ name, value }];
  }

  #remove(object: KubernetesObject): Change<T>[] {
    const name = nameOf(object);
    const known = this.#kept.get(name);
    this.#kept.delete(name);
    return known?.value === undefined ? [] : [{ name }];
  }

  #deliver(changes: readonly Change<T>[], evenNone = false): void {
    if (changes.length === 0 && !evenNone) return;
    try {
      this.#options.onChange(changes, this.#synced);
    } catch (error) {
      throw new ConsumerFault(error);
    }
  }
}

interface Page {
  readonly items?: readonly KubernetesObject[] | null;
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
}

/** What a callback threw: not to be taken for a broken connection. */
class ConsumerFault extends Error {
  constructor(cause: unknown) {
    super(`a consumer of a watch failed: ${String(cause)}`, { cause });
  }
}

const isConsumerFault = (error: unknown): boolean => error instanceof ConsumerFault;

function eventOf(line: string, path: string): { type: string; object: object } {
  try {
    const event = JSON.parse(line) as { type?: unknown; object?: unknown };
    if (typeof event.type === "string" && typeof event.object === "object" && event.object !== null)
      return { type: event.type, object: event.object };
  } catch {
    // cut in the middle, or no API server at all: told below
  }
  throw new KubernetesError("unavailable", `watch of ${path}: not an event: ${line.slice(0, 80)}`);
}
