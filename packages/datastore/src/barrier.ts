import { ROOT } from "@margay/api";
import { type Store, StoreError } from "./store.ts";
import { Syncer, type SyncUpdate } from "./syncer.ts";

/**
 * "Has everything written until now been applied everywhere?" asked on demand, so that no node reports each
 * change.
 *
 *     margay wait                         agent, bgpd (each node)
 *     create barriers/<id>   ──watch──►   once it is in sync, has seen everything written before it: one ordered stream
 *                            ◄──watch──   put barriers/<id>/<node>/<daemon> once that is in the kernel (or why it is not)
 *     delete barriers/<id>
 *
 * All keys carry a lease: nothing stays behind, whoever dies.
 */
const BARRIERS = `${ROOT}barriers/`;

/** Key of a barrier; the answers are below it. */
export const barrierKey = (id: string): string => BARRIERS + id;

const answerKey = (id: string, { node, daemon }: Participant): string =>
  `${barrierKey(id)}/${node}/${daemon}`;

export interface Participant {
  readonly node: string;
  readonly daemon: string;
}

export interface BarrierResult {
  /** `note`: what the answer does not speak for, such as a BGP peer that is down. */
  readonly answered: readonly (Participant & { readonly note?: string })[];
  /** Who has not applied everything, and why as far as known. */
  readonly missing: readonly (Participant & { readonly why: string })[];
}

type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

export interface RaiseOptions {
  /** Unique; a DNS label. */
  readonly id: string;
  readonly expected: readonly Participant[];
  readonly timeoutMs: number;
  readonly sleep: Sleep;
}

/** How much longer than its time-out a barrier's keys live, should nobody remove them. */
const GRACE_SECONDS = 10;

/** Between two looks at what is still pending. */
const ASK_AGAIN_MS = 100;

/**
 * Resolves when everybody expected has applied all that was written before the call, or after `timeoutMs`.
 * Throws `StoreError` when the barrier cannot be raised at all.
 */
export async function raiseBarrier(
  store: Store,
  { id, expected, timeoutMs, sleep }: RaiseOptions,
): Promise<BarrierResult> {
  const key = barrierKey(id);
  await store.create(key, JSON.stringify({ timeoutMs }), { ttlSeconds: lifetime(timeoutMs) });
  const answers = new Map<string, Answer>();
  const done = new AbortController();
  const whyMissing = (who: Participant): string | undefined => {
    const answer = answers.get(answerKey(id, who));
    return answer === undefined
      ? `no answer within ${timeoutMs} ms: is it running and connected to the datastore?`
      : answer.pending;
  };
  const onBatch = ({ updates }: { updates: readonly SyncUpdate[] }) => {
    for (const { key, entry } of updates) if (entry !== undefined) answers.set(key, parseAnswer(entry.value));
    if (expected.every((who) => whyMissing(who) === undefined)) done.abort();
  };
  const syncer = new Syncer({ store, prefix: `${key}/`, onBatch, sleep });
  const syncing = syncer.start();
  await Promise.race([sleep(timeoutMs, done.signal), syncing]);
  await syncer.stop();
  await lower(store, key);
  const missing = expected.flatMap((who) => {
    const why = whyMissing(who);
    return why === undefined ? [] : [{ ...who, why }];
  });
  const answered = expected
    .filter((who) => whyMissing(who) === undefined)
    .map((who) => {
      const note = answers.get(answerKey(id, who))?.note;
      return { ...who, ...(note !== undefined && { note }) };
    });
  return { answered, missing };
}

/** The answer is known; a barrier that cannot be removed now goes with its lease. */
async function lower(store: Store, key: string): Promise<void> {
  try {
    await store.delete(key);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}

const lifetime = (timeoutMs: number): number => Math.ceil(timeoutMs / 1000) + GRACE_SECONDS;

/** What a daemon writes: `{"applied":true}`, perhaps with a note, or why not. */
interface Answer {
  /** Undefined when everything is applied. */
  readonly pending: string | undefined;
  readonly note?: string;
}

export interface ResponderOptions extends Participant {
  readonly store: Store;
  /**
   * Why something delivered so far is not applied; undefined when all of it is. May wait a little for that. Must not
   * be undefined before the first batch that is in sync: until then what was written earlier may come after the barrier.
   */
  readonly pending: () => Promise<string | undefined>;
  /** What "applied" does not speak for, if anything. */
  readonly note?: () => string | undefined;
  readonly sleep: Sleep;
}

/**
 * A daemon's side: answers each barrier it sees, again and again until the answer is "applied" or the barrier
 * is gone.
 */
export class BarrierResponder {
  readonly #options: ResponderOptions;
  readonly #open = new Map<string, AbortController>();

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /**
   * To be called with every batch, after its updates went into what `pending` speaks of. Ignores all other
   * keys.
   */
  feed(updates: readonly SyncUpdate[]): void {
    for (const { key, entry } of updates) {
      const id = barrierId(key);
      if (id === undefined) continue;
      this.#open.get(id)?.abort();
      this.#open.delete(id);
      if (entry !== undefined) this.#respond(id, entry.value);
    }
  }

  stop(): void {
    for (const raised of this.#open.values()) raised.abort();
    this.#open.clear();
  }

  #respond(id: string, value: string): void {
    const raised = new AbortController();
    this.#open.set(id, raised);
    void this.#answer(id, { ttlSeconds: lifetime(timeoutIn(value)), signal: raised.signal });
  }

  async #answer(
    id: string,
    { ttlSeconds, signal }: { ttlSeconds: number; signal: AbortSignal },
  ): Promise<void> {
    const { store, pending, note, sleep } = this.#options;
    let written: string | undefined;
    while (!signal.aborted) {
      const why = await pending();
      const answer = JSON.stringify(why === undefined ? { applied: true, note: note?.() } : { pending: why });
      if (answer !== written && !signal.aborted)
        written = await put(store, { key: answerKey(id, this.#options), answer, ttlSeconds });
      if (why === undefined && written === answer) return;
      await sleep(ASK_AGAIN_MS, signal);
    }
  }
}

/** Undefined if the store cannot be reached now. */
async function put(
  store: Store,
  what: { key: string; answer: string; ttlSeconds: number },
): Promise<string | undefined> {
  try {
    await store.put(what.key, what.answer, { ttlSeconds: what.ttlSeconds });
    return what.answer;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return undefined;
  }
}

/** Undefined for keys that are no barrier, answers among them. */
function barrierId(key: string): string | undefined {
  const id = key.startsWith(BARRIERS) ? key.slice(BARRIERS.length) : "";
  return id === "" || id.includes("/") ? undefined : id;
}

function timeoutIn(value: string): number {
  const { timeoutMs } = parseObject(value);
  return typeof timeoutMs === "number" && timeoutMs >= 0 ? timeoutMs : 0;
}

function parseAnswer(value: string): Answer {
  const { applied, pending, note } = parseObject(value);
  return {
    ...(typeof note === "string" && { note }),
    pending: applied === true ? undefined : String(pending ?? `answered ${value}, which is not understood`),
  };
}

/** What other processes wrote: anything that is not an object is an empty one. */
function parseObject(value: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return {};
  }
}
