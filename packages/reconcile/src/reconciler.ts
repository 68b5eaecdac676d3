import { Edited, planKeys } from "./edited.ts";
import { Parts, planParts } from "./parts.ts";
import { type Plan, plan, type Same, type Target } from "./target.ts";

/** One target with its desired state, type-erased so that targets of different values share a list. */
export interface Work {
  readonly name: string;
  refresh(): Promise<void>;
  put(): Promise<number>;
  remove(): Promise<number>;
}

/** What one pass changed, by target name. */
export interface Outcome {
  readonly target: string;
  readonly put: number;
  readonly removed: number;
}

/**
 * After so many comparisons, and one in so many of all there is, what is wanted is taken for what is there, so that the next plan need not
 * compare again. To take it costs something for each, too.
 */
const MANY = 32;
const ONE_IN = 8;

/**
 * A target plus what we believe it holds. The belief is read once (`list`), kept while our own
 * writes succeed, and dropped by `distrust` (error, kernel notification, slow timer).
 */
export class Tracked<V> {
  readonly target: Target<V>;
  #believed: Map<string, V> | undefined;
  /** How many of its values the last plan had to compare, since they were not the wanted objects themselves. */
  #compared = 0;
  /** What the belief was made to match, to the last put and remove; undefined as soon as one is under way. */
  #matches: Parts<V> | Edited<V> | undefined;
  /** Keys to write whatever is believed of them: since the last plan, and all that no finished pass has written. */
  #doubted = new Set<string>();
  #unwritten = new Set<string>();

  constructor(target: Target<V>) {
    this.target = target;
  }

  /** The next pass reads the world again. */
  distrust(): void {
    this.#believed = undefined;
    this.#matches = undefined;
    this.#doubted.clear();
    this.#unwritten.clear();
  }

  /** The next pass puts or removes these, whatever they are believed to be, and does not read the world for it. */
  doubt(keys: Iterable<string>): void {
    for (const key of keys) this.#doubted.add(key);
  }

  /** Binds the wanted state for one pass of `reconcile`. */
  to(wanted: ReadonlyMap<string, V>): Work {
    let todo: Plan<V> = { put: new Map(), remove: [] };
    return {
      name: this.target.name,
      refresh: async () => {
        this.#believed ??= new Map(await this.target.list());
        todo = this.#plan(this.#believed, wanted);
        this.#matches = undefined;
      },
      put: () =>
        this.#write(
          todo.put.size,
          () => this.target.put(todo.put),
          () => merge(this.#believed, todo),
        ),
      remove: async () => {
        const count = await this.#write(
          todo.remove.length,
          () => this.target.remove(todo.remove),
          () => drop(this.#believed, todo),
        );
        this.#finished(wanted);
        return count;
      },
    };
  }

  #plan(actual: ReadonlyMap<string, V>, wanted: ReadonlyMap<string, V>): Plan<V> {
    const plain = this.#planOfBelief(actual, wanted);
    for (const key of this.#doubted) this.#unwritten.add(key);
    this.#doubted = new Set();
    return this.#unwritten.size === 0 ? plain : withAll(this.#unwritten, plain, wanted);
  }

  #planOfBelief(actual: ReadonlyMap<string, V>, wanted: ReadonlyMap<string, V>): Plan<V> {
    this.#compared = 0;
    const same: Same<V> = (a, w) => {
      this.#compared++;
      return this.target.same(a, w);
    };
    const matches = this.#matches;
    const edits = wanted instanceof Edited ? wanted.take(this) : undefined;
    if (edits && matches === wanted) return planKeys(edits, { actual, wanted }, same);
    return matches instanceof Parts && wanted instanceof Parts
      ? planParts({ actual, matches }, wanted, same)
      : plan(actual, wanted, same);
  }

  /** All of one pass is written. */
  #finished(wanted: ReadonlyMap<string, V>): void {
    this.#unwritten.clear();
    const isMany = this.#compared > MANY && this.#compared * ONE_IN > wanted.size;
    if (this.#believed && isMany && !(wanted instanceof Edited)) this.#believed = new Map(wanted); // one that is edited may know more by now than was written
    if (this.#believed && (wanted instanceof Parts || wanted instanceof Edited)) this.#matches = wanted;
  }

  /** A failed write leaves the world unknown: read it again next time. */
  async #write(count: number, act: () => Promise<void>, believe: () => void): Promise<number> {
    if (count === 0) return 0;
    try {
      await act();
    } catch (error) {
      this.distrust();
      throw error;
    }
    believe();
    return count;
  }
}

/** The plan with these keys in it whatever it says of them (pure). */
function withAll<V>(
  keys: ReadonlySet<string>,
  { put, remove }: Plan<V>,
  wanted: ReadonlyMap<string, V>,
): Plan<V> {
  const [puts, removes] = [new Map(put), new Set(remove)];
  for (const key of keys) {
    const value = wanted.get(key);
    if (value === undefined) removes.add(key);
    else puts.set(key, value);
  }
  return { put: puts, remove: [...removes] };
}

function merge<V>(believed: Map<string, V> | undefined, todo: Plan<V>): void {
  for (const [key, value] of todo.put) believed?.set(key, value);
}

function drop<V>(believed: Map<string, V> | undefined, todo: Plan<V>): void {
  for (const key of todo.remove) believed?.delete(key);
}

/**
 * Makes every target match: puts in the given (dependency) order, removes in reverse, so that a
 * set exists before the chain that names it and outlives it. Throws the first error; what was
 * written stays believed.
 */
export async function reconcile(works: readonly Work[]): Promise<Outcome[]> {
  for (const work of works) await work.refresh();
  const put = new Map<string, number>();
  for (const work of works) put.set(work.name, await work.put());
  const removed = new Map<string, number>();
  for (const work of works.toReversed()) removed.set(work.name, await work.remove());
  return works.map(({ name }) => ({
    target: name,
    put: put.get(name) ?? 0,
    removed: removed.get(name) ?? 0,
  }));
}
