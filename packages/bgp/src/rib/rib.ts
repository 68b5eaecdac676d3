import type { Address, Family, Prefix } from "@margay/net";
import { remember } from "../remember.ts";
import type { Attributes } from "../wire/attributes.ts";
import type { Nlri } from "../wire/nlri.ts";
import { Changes } from "./changes.ts";
import { Choice } from "./choice.ts";
import { type Cost, decide } from "./decision.ts";
import { type DecisionStep, hopKey, materialised, type Path, type Route, type Source } from "./path.ts";
import { PathLists } from "./path-lists.ts";
import { end } from "./path-nodes.ts";
import { PathSlots } from "./path-slots.ts";
import { grown, PrefixTable } from "./prefix-table.ts";
import { type Counts, RouteNumbers, unusable } from "./route-numbers.ts";
import { LearnedRoute } from "./route-store.ts";

/** What import policy made of one set of attributes. */
export type Imported = { readonly attributes: Attributes } | { readonly refused: string };

/** A path for those who are told several of one prefix (RFC 7911), best first. */
export interface NumberedRoute {
  readonly route: Route;
  readonly pathId: number;
}

/** Of a prefix to decide on: once more, and whether its set of equal routes was broken. */
const dirty = 1;
const broken = 2;

/**
 * The Adj-RIBs-In and the Loc-RIB of one family, RFC 4271 §3.2: for every prefix the paths of all sources, one per source
 * and path identifier, and the best of them. Changes gather until `decide` is called, once per turn of the caller's loop.
 */
export class Rib {
  readonly prefixes: PrefixTable;
  /** Prefixes with the path identifiers that we gave them. */
  readonly slots: PathSlots;
  /** Peers are told several paths of a prefix: each change of any is reported. */
  tellsAll = false;
  readonly #cost: Cost;
  readonly #numbers: RouteNumbers;
  readonly #paths: PathLists;
  readonly #choice: Choice;
  /** Route number + 1, or 0. */
  #best = new Int32Array(1024);
  #state = new Uint8Array(1024);
  /** Prefixes to decide on, each once; those before `#decided` are. */
  #dirty = new Int32Array(1024);
  #dirtyCount = 0;
  #decided = 0;
  /** Paths of restarting sources that they have not said again, by `pathKey`. */
  readonly #stale = new Map<Source, Set<number>>();

  constructor({ family, cost }: { family: Family; cost: Cost }) {
    this.prefixes = new PrefixTable(family);
    this.slots = new PathSlots(this.prefixes);
    this.#cost = cost;
    this.#numbers = new RouteNumbers(cost);
    this.#paths = new PathLists(this.#numbers, (id) => this.#touch(id, broken));
    this.#choice = new Choice(this.#numbers);
  }

  /** Puts routes into the source's Adj-RIB-In, replacing what it said before of the same prefixes and path identifiers. */
  announce(nlri: Nlri, route: Route): void {
    const number = this.#numbers.take(route);
    const stale = this.#stale.get(route.source);
    this.prefixes.eachId(nlri, (id, pathId) => {
      if (id >= this.#state.length) this.#grow(id);
      stale?.delete(pathKey(id, pathId));
      if (this.#paths.put(id, number, pathId)) this.#touch(id, dirty);
    });
    this.#numbers.release(number);
  }

  /** One prefix of `announce`, for policies that look at the prefix. */
  put(id: number, route: Route, pathId = 0): void {
    const number = this.#numbers.take(route);
    if (id >= this.#state.length) this.#grow(id);
    this.#stale.get(route.source)?.delete(pathKey(id, pathId));
    if (this.#paths.put(id, number, pathId)) this.#touch(id, dirty);
    this.#numbers.release(number);
  }

  /** Takes routes out of the source's Adj-RIB-In; those it never announced are ignored. */
  withdraw(source: Source, nlri: Nlri): void {
    this.prefixes.eachId(nlri, (id, pathId) => this.remove(source, id, pathId));
  }

  /** One prefix of `withdraw`. */
  remove(source: Source, id: number, pathId = 0): void {
    if (!this.#paths.remove(id, source, pathId)) return;
    this.#stale.get(source)?.delete(pathKey(id, pathId));
    this.#touch(id, dirty);
  }

  /** The session is gone: its whole Adj-RIB-In goes. */
  forget(source: Source): void {
    this.eachOf(source, (id, _route, pathId) => this.remove(source, id, pathId));
    this.#stale.delete(source);
    this.#numbers.forget(source);
  }

  /** RFC 4724 §4.2: the peer restarts; its routes stay until it says them again or `sweepStale`. */
  markStale(source: Source): void {
    const stale = new Set<number>();
    this.eachOf(source, (id, _route, pathId) => stale.add(pathKey(id, pathId)));
    this.#stale.set(source, stale);
  }

  /** Removes what a restarted peer did not announce again. Returns how many. */
  sweepStale(source: Source): number {
    const stale = [...(this.#stale.get(source) ?? [])];
    this.#stale.delete(source);
    for (const key of stale) this.remove(source, key % 2 ** 32, Math.floor(key / 2 ** 32));
    return stale.length;
  }

  /** Whether a path is kept from a peer that restarts. */
  isStale(source: Source, id: number, pathId = 0): boolean {
    return this.#stale.get(source)?.has(pathKey(id, pathId)) ?? false;
  }

  /** The same routes under another source object (a session that came back), so that stale ones find their owner. */
  rename(from: Source, to: Source): void {
    const renamed = new Map<Route, Route>();
    const stale = this.#stale.get(from);
    this.#stale.delete(from);
    this.eachOf(from, (id, route, pathId) => {
      const next = remember(renamed, route, () => {
        const made = route instanceof LearnedRoute ? route.withSource(to) : { ...route, source: to };
        this.#numbers.take(made); // until all are moved: the last of the old ones takes its bytes with it
        return made;
      });
      this.remove(from, id, pathId);
      this.put(id, next, pathId);
    });
    for (const made of renamed.values()) this.#numbers.release(this.#numbers.take(made), 2);
    this.#numbers.forget(from);
    if (stale) this.#stale.set(to, stale);
  }

  /** Calls `each` for every path of one source, of prefixes `from` to before `to`; it may put and remove paths of that prefix. */
  eachOf(
    source: Source,
    each: (id: number, route: Route, pathId: number) => void,
    { from = 0, to = this.prefixes.size }: { readonly from?: number; readonly to?: number } = {},
  ): void {
    for (let id = from; id < to; id++)
      for (const pathId of this.#paths.pathIdsOf(id, source)) {
        const number = this.#paths.numberOf(id, source, pathId);
        if (number >= 0) each(id, this.#route(number), pathId);
      }
  }

  /** The cost function answers otherwise now (a link went, a route came): decide again on everything. */
  costsChanged(): void {
    this.#numbers.costsChanged();
    for (const id of this.ids()) this.#touch(id, dirty);
  }

  /** The next hops of all paths, as received and as import policy left them. */
  nextHops(): ReadonlySet<Address> {
    return this.#numbers.nextHops();
  }

  /** Something changed that no decision was made on. */
  get isUndecided(): boolean {
    return this.#decided < this.#dirtyCount;
  }

  /**
   * Runs the decision process on what changed since the last call, `most` prefixes in the order of their changes; answers with
   * those that came out otherwise.
   */
  decide(most = Number.POSITIVE_INFINITY): Changes {
    const last = Math.min(this.#dirtyCount, this.#decided + most);
    const best = new Int32Array(last - this.#decided);
    let count = 0;
    const others: number[] = [];
    for (; this.#decided < last; this.#decided++) {
      const id = this.#dirty[this.#decided]!; // below the count
      const wasBroken = this.#state[id] === broken;
      this.#state[id] = 0;
      const head = this.#paths.head(id);
      const before = this.#best[id]!;
      let hasOthers = wasBroken || this.tellsAll;
      let now = 0;
      if (head > 0) now = this.#numbers.cost(head - 1) === unusable ? 0 : head;
      else if (head < 0) {
        const node = this.#choose(-head - 1);
        if (this.#markEqual(-head - 1)) hasOthers = true;
        now = node === end ? 0 : this.#paths.nodes.route[node]! + 1;
      }
      if (now !== before) {
        this.#setBest(id, now);
        best[count++] = id;
      } else if (hasOthers) others.push(id);
    }
    if (!this.isUndecided) this.#decided = this.#dirtyCount = 0;
    return new Changes(this, best.subarray(0, count), others);
  }

  best(id: number): Route | undefined {
    const best = this.#best[id] ?? 0;
    return best === 0 ? undefined : this.#route(best - 1);
  }

  /** The best route and its equals, for ECMP, with distinct next hops; empty when there is no route. */
  equal(id: number): readonly Route[] {
    const best = this.best(id);
    if (!best) return [];
    const equal: Route[] = [best];
    const seen = new Set([hopOf(best)]);
    for (let node = this.#paths.first(id); node !== end; node = this.#paths.nodes.next[node]!) {
      if (this.#paths.nodes.isEqual[node] === 0) continue;
      const route = this.#route(this.#paths.nodes.route[node]!); // linked
      if (route !== best && !seen.has(hopOf(route))) equal.push(route);
      seen.add(hopOf(route));
    }
    return equal;
  }

  /** The usable paths of a prefix, the best first, `max` at most: what a peer with ADD-PATH is told (RFC 7911). */
  ranked(id: number, max: number): readonly NumberedRoute[] {
    const head = this.#paths.head(id);
    const best = this.best(id);
    if (head >= 0) return best ? [{ route: best, pathId: 1 }] : [];
    const taken = new Set<number>();
    const out: NumberedRoute[] = [];
    while (out.length < max) {
      const node = this.#choose(-head - 1, taken);
      if (node === end) break;
      taken.add(node);
      const { route, sentId } = this.#paths.nodes;
      out.push({ route: this.#route(route[node]!), pathId: sentId[node]! }); // a node of the list
    }
    return out;
  }

  /** All paths of a prefix, refused ones too, with the step at which each lost. */
  paths(id: number): readonly Path[] {
    const whole: { readonly route: Route; readonly pathId: number }[] = [];
    const head = this.#paths.head(id);
    if (head > 0) whole.push({ route: materialised(this.#route(head - 1)), pathId: 0 });
    for (let node = this.#paths.first(id); node !== end; node = this.#paths.nodes.next[node]!) {
      const { route, receivedId } = this.#paths.nodes;
      whole.push({ route: materialised(this.#route(route[node]!)), pathId: receivedId[node]! }); // linked
    }
    const lost = new Map<Route, DecisionStep>();
    const routes = whole.map(({ route }) => route);
    const { best, equal } = decide(routes, this.#cost, (route, step) => lost.set(route, step));
    return whole.map(({ route, pathId }) => {
      const step = lost.get(route);
      return {
        ...{ ...route, stale: this.isStale(route.source, id, pathId) },
        ...{ best: route === best, equal: equal.includes(route) },
        ...(pathId === 0 ? {} : { pathId }),
        ...(step ? { lost: step } : {}),
      };
    });
  }

  /** Every prefix that has a route. */
  *ids(): Generator<number> {
    for (let id = 0; id < this.prefixes.size; id++) if (this.#paths.head(id) !== 0) yield id;
  }

  /** Every prefix that has a route, for people: `ids` is cheaper. */
  *entries(): Generator<{ id: number; prefix: Prefix; paths: readonly Path[]; best: Route | undefined }> {
    for (const id of this.ids())
      yield { id, prefix: this.prefixes.prefix(id), paths: this.paths(id), best: this.best(id) };
  }

  counts(source: Source): Counts {
    return this.#numbers.counts(source);
  }

  /** The best node of a list, but for some. */
  #choose(first: number, without?: ReadonlySet<number>): number {
    const { route, next } = this.#paths.nodes;
    this.#choice.begin();
    for (let node = first; node !== end; node = next[node]!) {
      const number = route[node]!; // linked
      if (!without?.has(node) && this.#numbers.cost(number) !== unusable) this.#choice.add(number, node);
    }
    return this.#choice.best();
  }

  /** Notes what the choice found equal; whether that is another set than before. */
  #markEqual(first: number): boolean {
    const { isEqual, next } = this.#paths.nodes;
    const { equal } = this.#choice;
    let changed = false;
    for (let node = first; node !== end; node = next[node]!) {
      const is = equal.includes(node) ? 1 : 0;
      if (isEqual[node] !== is) changed = true;
      isEqual[node] = is;
    }
    return changed;
  }

  #setBest(id: number, now: number): void {
    const before = this.#best[id]!; // ids have one
    this.#best[id] = now;
    if (now !== 0) {
      this.#numbers.retain(now - 1);
      this.#numbers.accounts[now - 1]!.best++; // numbered
    }
    if (before === 0) return;
    this.#numbers.accounts[before - 1]!.best--;
    this.#numbers.release(before - 1);
  }

  #route(number: number): Route {
    return this.#numbers.routes[number]!; // numbers here are held
  }

  #touch(id: number, how: typeof dirty | typeof broken): void {
    const state = this.#state[id]!; // grown by the caller
    if (state < how) this.#state[id] = how;
    if (state !== 0) return;
    if (this.#dirtyCount === this.#dirty.length) this.#makeRoom();
    this.#dirty[this.#dirtyCount++] = id;
  }

  /** What is decided goes where it is most of the list. */
  #makeRoom(): void {
    if (this.#decided * 2 < this.#dirtyCount) {
      this.#dirty = grown(this.#dirty, (n) => new Int32Array(n));
      return;
    }
    this.#dirty.copyWithin(0, this.#decided, this.#dirtyCount);
    this.#dirtyCount -= this.#decided;
    this.#decided = 0;
  }

  #grow(id: number): void {
    while (id >= this.#state.length) {
      this.#best = grown(this.#best, (n) => new Int32Array(n));
      this.#state = grown(this.#state, (n) => new Uint8Array(n));
    }
  }
}

/** One number for a prefix and a received path identifier, both below 2^32; ids are far below 2^21. */
const pathKey = (id: number, pathId: number): number => id + pathId * 2 ** 32;

const hopOf = (route: Route): bigint | string | undefined =>
  hopKey((route instanceof LearnedRoute ? route.nextHop : route.attributes?.nextHop)?.address, route.source);
