import { type Kind, kindPrefix, parseKey } from "@margay/api";
import type { Entry } from "@margay/datastore";
import type { KubernetesObject, ListWatch } from "@margay/kubernetes";
import { type Conversion, type Converted, closedInstead, standsClosed } from "./converted.ts";
import { tellWarning } from "./events.ts";
import { unread } from "./follow.ts";
import { isTooLarge } from "./grouped.ts";
import { isMadeFrom } from "./mark.ts";
import { Mirror } from "./mirror.ts";
import type { Surroundings } from "./parts.ts";
import { poolConflict, poolInUse } from "./pool-in-use.ts";
import { amend } from "./put.ts";
import { Queued } from "./queued.ts";
import { acceptance, acceptedNow, conditionText, statusPatch } from "./status.ts";

/** What an object of Kubernetes asks the datastore to hold, and what is needed to answer it. */
interface Wish extends Converted {
  readonly conversion: Conversion;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly uid: string | undefined;
  readonly generation: number | undefined;
  /** Its condition Accepted as it is now. */
  readonly accepted: string | undefined;
}

/**
 * Objects that are each one resource of the datastore:
 *
 *     list-watch ─► convert (pure, at once; only the text is kept) ─► wish ─┐ a key with either is settled:
 *     etcd ──────► mirror of the same kinds ────────────────────────────────┘ equal: nothing; else one compare-and-swap
 *
 * A key without a wish is removed if it bears the mark of a kind that has been read whole. After the write the object's
 * status, or an Event, says what became of it.
 */
export class Copies extends Queued {
  readonly name = "copies";
  readonly #surroundings: Surroundings;
  readonly #wishes = new Map<string, Wish>();
  readonly #watches = new Map<Conversion, ListWatch<Wish>>();
  readonly #mirrors = new Map<Kind, Mirror<Entry>>();
  /** Whose status or Event has been written, and what it says. */
  readonly #reported = new WeakMap<Wish, string | undefined>();
  /** Kinds that the cluster does not have. */
  readonly #missing = new Set<Conversion>();
  /** Pools are settled one after the other: each must fit those before it. */
  #pools: Promise<unknown> = Promise.resolve();

  /** @param after what must be in the datastore before profiles: without its profile a pod is closed */
  constructor(
    surroundings: Surroundings,
    { conversions, event, after }: { conversions: readonly Conversion[]; event: string; after?: Copies },
  ) {
    super({ ...surroundings, event, after });
    this.#surroundings = surroundings;
    for (const kind of new Set(conversions.map((one) => one.kind)))
      this.#mirrors.set(kind, this.#mirror(kind));
    for (const conversion of conversions) this.#watches.set(conversion, this.#watch(conversion));
  }

  protected sources() {
    return [...this.#mirrors.values(), ...this.#watches.values()];
  }

  readonly waitsFor = (): string | undefined => {
    const mirrors = [...this.#mirrors].map(([kind, one]) => one.waitsFor(kind));
    const watches = [...this.#watches].map(([conversion, one]) =>
      this.#missing.has(conversion) ? undefined : unread(one, conversion.from),
    );
    return [...mirrors, ...watches].find((why) => why !== undefined);
  };

  protected *all(): Generator<string> {
    yield* this.#wishes.keys();
    for (const mirror of this.#mirrors.values()) for (const [key] of mirror.entries()) yield key;
  }

  /** A datastore that lost what it had is seen by one mirror before the other. */
  override get isDone(): boolean {
    return super.isDone && [...this.#mirrors.values()].every(({ isCurrent }) => isCurrent);
  }

  protected override waits(key: string): boolean {
    return parseKey(key)?.kind === "Profile";
  }

  #mirror(kind: Kind): Mirror<Entry> {
    const { store, troubles, sleep, random } = this.#surroundings;
    return new Mirror<Entry>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix(kind), keep: (entry) => entry },
      onChange: (keys) => {
        this.queue.add(keys);
        if (kind === "IPPool") this.queue.add(this.#wishKeys(kind)); // what stood in their way may be gone
      },
    });
  }

  #watch(conversion: Conversion): ListWatch<Wish> {
    const { path, optional } = conversion;
    const keys = new Map<string, string>();
    return this.#surroundings.follow<Wish>({
      ...{ path, optional },
      onMissing: () => {
        this.#missing.add(conversion);
        this.queue.add([]);
      },
      keep: (object) => wishOf(conversion, object),
      onChange: (changes, synced) => {
        for (const { name, value } of changes) {
          const former = keys.get(name);
          if (former !== undefined && former !== value?.key) this.#forget(former, conversion);
          if (value) {
            keys.set(name, value.key);
            this.#wishes.set(value.key, value);
            this.queue.add([value.key]);
          } else keys.delete(name);
        }
        if (synced && changes.length === 0) this.queue.add(this.#mirrorKeys(conversion.kind)); // the list is whole
      },
    });
  }

  #wishKeys(kind: Kind): string[] {
    return [...this.#wishes.keys()].filter((key) => key.startsWith(kindPrefix(kind)));
  }

  #mirrorKeys(kind: Kind): string[] {
    return [...(this.#mirrors.get(kind)?.entries() ?? [])].map(([key]) => key);
  }

  #forget(key: string, conversion: Conversion): void {
    if (this.#wishes.get(key)?.conversion !== conversion) return;
    this.#wishes.delete(key);
    this.queue.add([key]);
  }

  protected async settle(key: string): Promise<void> {
    const wish = this.#wishes.get(key);
    if (!wish) return this.#remove(key);
    // its mirror names it again when it has read all
    if (wish.conversion.kind === "IPPool" && !this.#mirrors.get("IPPool")?.synced) return;
    const refused =
      wish.text === undefined ? await this.#close(key, wish) : await this.#take(key, wish, wish.text);
    if (this.#reported.has(wish) && this.#reported.get(wish) === refused) return;
    await this.#report(wish, refused);
    this.#reported.set(wish, refused);
  }

  /** What was in force stays; where nothing was, what the policy selects is closed. @returns why it was not taken */
  async #close(key: string, { closed, refused }: Wish): Promise<string | undefined> {
    if (closed === undefined) return refused;
    let isClosed = false;
    await this.#write(key, (now) => {
      isClosed = !now || standsClosed(now.value);
      return isClosed ? closed : (now?.value ?? null);
    });
    return isClosed ? `${refused}; until it is corrected what it selects is closed` : refused;
  }

  /**
   * One that the datastore will never take is refused like one that cannot be read: nobody else's waits for it.
   * @returns why it was not, or not wholly, taken
   */
  async #take(key: string, wish: Wish, text: string): Promise<string | undefined> {
    try {
      return await this.#put(key, wish, text);
    } catch (error) {
      if (!isTooLarge(error)) throw error;
    }
    const refused = `becomes ${text.length} characters, more than the datastore takes: make several of it`;
    const closed = closedInstead(key, text, wish.conversion);
    if (closed === undefined) return refused;
    if (wish.conversion.hasStatus) return this.#close(key, { ...wish, closed, refused });
    await this.#write(key, () => closed);
    return refused;
  }

  /** @returns why it was not, or not wholly, taken */
  async #put(key: string, { conversion, refused }: Wish, text: string): Promise<string | undefined> {
    if (conversion.kind !== "IPPool") {
      await this.#write(key, () => text);
      return refused;
    }
    const pools = this.#mirrors.get("IPPool");
    if (!pools?.synced) throw new Error("a pool is held against pools that were not read"); // `settle` waits for them
    const turn = this.#pools.then(async () => {
      const conflict = poolConflict(key, text, pools.entries());
      if (conflict === undefined) await this.#write(key, () => text);
      return conflict;
    });
    this.#pools = turn.catch(() => {});
    return turn;
  }

  async #remove(key: string): Promise<void> {
    const kind = parseKey(key)?.kind;
    const now = kind && this.#mirrors.get(kind)?.get(key);
    if (!now || !kind) return;
    const from = [...this.#watches].find(([one]) => one.kind === kind && isMadeFrom(now.value, one.from));
    if (!from?.[1].synced) return;
    const inUse = kind === "IPPool" ? await poolInUse(this.#surroundings.store, now) : undefined;
    if (!inUse) return this.#write(key, () => null);
    await this.#write(key, () => inUse.closed);
    throw new Error(`${inUse.count} addresses are in use: it gives out no more, and goes when they are free`);
  }

  async #write(key: string, step: (now: Entry | undefined) => string | null): Promise<void> {
    const kind = parseKey(key)?.kind;
    const mirror = kind && this.#mirrors.get(kind);
    const seen = mirror?.synced ? { entry: mirror.get(key) } : undefined;
    await amend(this.#surroundings, mirror, { key, step, seen });
  }

  /** In the status where there is one, else as an Event; nothing when it says so already. */
  async #report({ conversion, ...wish }: Wish, refused: string | undefined): Promise<void> {
    const { server, now, log } = this.#surroundings;
    const { name, namespace, uid, generation } = wish;
    const [apiVersion = "", kind = ""] = conversion.from.split(" ");
    const condition = acceptance(generation, refused);
    const isNews = conversion.hasStatus && conditionText(condition) !== wish.accepted;
    if (isNews) {
      const prefix = conversion.path.replace(/\/([^/]+)$/, namespace ? `/namespaces/${namespace}/$1` : "/$1");
      const body = statusPatch(condition, now());
      await server.call({ method: "PATCH", path: `${prefix}/${name}/status`, body });
    }
    if (refused === undefined || (conversion.hasStatus && !isNews)) return;
    log.warn({ event: "refused", kind, name, namespace }, `${kind} ${name} is refused: ${refused}`);
    const message = refusalText(conversion.hasStatus ? {} : wish, refused);
    const telling = { reason: "Refused", message, now: now() };
    await tellWarning(server, { apiVersion, kind, name, namespace, uid }, telling);
  }
}

function refusalText({ text, isClosedByRule }: Partial<Converted>, refused: string): string {
  if (text === undefined) return `${refused}; what was in force before stays`;
  return isClosedByRule
    ? `${refused}; until it is corrected a rule with such a peer accepts nothing, or denies all if it is to deny or to pass`
    : `${refused}; until it is corrected its pods are closed: nothing passes that is left to it to decide`;
}

function wishOf(conversion: Conversion, object: KubernetesObject): Wish {
  const { name, namespace, uid, generation } = object.metadata;
  const accepted = conversion.hasStatus ? acceptedNow(object) : undefined;
  return { ...conversion.convert(object), conversion, name, namespace, uid, generation, accepted };
}
