import type { Family, Prefix } from "@margay/net";
import { remember } from "../remember.ts";
import type { Attributes } from "../wire/attributes.ts";
import type { Nlri } from "../wire/nlri.ts";
import { type Cost, decide, isUsable } from "./decision.ts";
import type { DecisionStep, Path, Route, Source } from "./path.ts";
import { grown, PrefixTable } from "./prefix-table.ts";

/** What import policy made of one set of attributes. */
export type Imported = { readonly attributes: Attributes } | { readonly refused: string };

/** A prefix whose best route, or whose set of equal routes, is another than before. */
export interface Change {
  readonly id: number;
  readonly best: Route | undefined;
  /** The best route is another one (not only its equals). */
  readonly bestChanged: boolean;
}

/** Prefixes of one source: in its Adj-RIB-In, accepted by import policy, chosen as best. */
export interface Counts {
  readonly received: number;
  readonly accepted: number;
  readonly best: number;
}

/** Most prefixes have one route: then it stands here itself. */
type Routes = Route | Route[] | undefined;

/**
 * The Adj-RIBs-In and the Loc-RIB of one family, RFC 4271 §3.2: for every prefix the routes of all sources, one per
 * source, and the best of them. Changes gather until `decide` is called, once per turn of the caller's loop.
 */
export class Rib {
  readonly prefixes: PrefixTable;
  readonly #cost: Cost;
  readonly #routes: Routes[] = [];
  readonly #best: (Route | undefined)[] = [];
  /** Only where more than one route is equal. */
  readonly #equal = new Map<number, readonly Route[]>();
  /** Prefixes to decide on, each once. */
  #dirty: number[] = [];
  #isDirty = new Uint8Array(1024);
  readonly #counts = new Map<Source, { received: number; accepted: number; best: number }>();
  /** Prefixes of restarting sources that they have not said again. */
  readonly #stale = new Map<Source, Set<number>>();

  constructor({ family, cost }: { family: Family; cost: Cost }) {
    this.prefixes = new PrefixTable(family);
    this.#cost = cost;
  }

  /** Puts routes into the source's Adj-RIB-In, replacing what it said before of the same prefixes. */
  announce(nlri: Nlri, route: Route): void {
    this.prefixes.eachId(nlri, (id) => this.put(id, route));
  }

  /** One prefix of `announce`, for policies that look at the prefix. */
  put(id: number, route: Route): void {
    const routes = this.#routes[id];
    this.#stale.get(route.source)?.delete(id);
    if (routes === undefined) this.#routes[id] = route;
    else if (!Array.isArray(routes)) {
      if (routes.source !== route.source) this.#routes[id] = [routes, route];
      else if (sameRoute(routes, route)) return;
      else {
        this.#routes[id] = route;
        this.#count(routes, -1);
      }
    } else {
      const at = routes.findIndex((r) => r.source === route.source);
      const before = routes[at];
      if (before && sameRoute(before, route)) return;
      if (before) this.#count(before, -1);
      routes[before ? at : routes.length] = route;
    }
    this.#count(route, 1);
    this.#touch(id);
  }

  /** Takes routes out of the source's Adj-RIB-In; those it never announced are ignored. */
  withdraw(source: Source, nlri: Nlri): void {
    this.prefixes.eachId(nlri, (id) => this.remove(source, id));
  }

  /** One prefix of `withdraw`. */
  remove(source: Source, id: number): void {
    const routes = this.#routes[id];
    if (routes === undefined) return;
    if (!Array.isArray(routes)) {
      if (routes.source !== source) return;
      this.#routes[id] = undefined;
      this.#count(routes, -1);
    } else {
      const at = routes.findIndex((r) => r.source === source);
      if (at < 0) return;
      this.#count(routes[at]!, -1); // found just now
      routes.splice(at, 1);
      if (routes.length === 1) this.#routes[id] = routes[0];
    }
    this.#stale.get(source)?.delete(id);
    this.#touch(id);
  }

  /** The session is gone: its whole Adj-RIB-In goes. */
  forget(source: Source): void {
    for (let id = 0; id < this.#routes.length; id++) this.remove(source, id);
    this.#stale.delete(source);
    this.#counts.delete(source);
  }

  /** RFC 4724 §4.2: the peer restarts; its routes stay until it says them again or `sweepStale`. */
  markStale(source: Source): void {
    const stale = new Set<number>();
    for (let id = 0; id < this.#routes.length; id++) if (this.#of(source, id)) stale.add(id);
    this.#stale.set(source, stale);
  }

  /** Removes what a restarted peer did not announce again. Returns how many. */
  sweepStale(source: Source): number {
    const stale = [...(this.#stale.get(source) ?? [])];
    this.#stale.delete(source);
    for (const id of stale) this.remove(source, id);
    return stale.length;
  }

  /** The same routes under another source object (a session that came back), so that stale ones find their owner. */
  rename(from: Source, to: Source): void {
    const renamed = new Map<Route, Route>();
    const stale = this.#stale.get(from);
    this.#stale.delete(from);
    for (let id = 0; id < this.#routes.length; id++) {
      const route = this.#of(from, id);
      if (!route) continue;
      const next = remember(renamed, route, () => ({ ...route, source: to }));
      this.remove(from, id);
      this.put(id, next);
    }
    this.#counts.delete(from);
    if (stale) this.#stale.set(to, stale);
  }

  /** The cost function answers otherwise now (a link went, a route came): decide again on everything. */
  costsChanged(): void {
    for (const id of this.ids()) this.#touch(id);
  }

  /** Runs the decision process on what changed since the last call; yields each prefix with another outcome. */
  *decide(): Generator<Change> {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const id of dirty) {
      this.#isDirty[id] = 0;
      const change = this.#decideOne(id);
      if (change) yield change;
    }
  }

  best(id: number): Route | undefined {
    return this.#best[id];
  }

  /** The best route and its equals, for ECMP; empty when there is no route. */
  equal(id: number): readonly Route[] {
    const best = this.#best[id];
    return this.#equal.get(id) ?? (best ? [best] : []);
  }

  /** All paths of a prefix, refused ones too, with the step at which each lost. */
  paths(id: number): readonly Path[] {
    const routes = this.#list(id);
    const lost = new Map<Route, DecisionStep>();
    decide(routes, this.#cost, (route, step) => lost.set(route, step));
    return routes.map((route) => {
      const step = lost.get(route);
      const stale = this.#stale.get(route.source)?.has(id) ?? false;
      return { ...route, stale, ...(step ? { lost: step } : {}) };
    });
  }

  /** Every prefix that has a route. */
  *ids(): Generator<number> {
    for (let id = 0; id < this.#routes.length; id++) if (this.#routes[id] !== undefined) yield id;
  }

  /** Every prefix that has a route, for people: `ids` is cheaper. */
  *entries(): Generator<{ id: number; prefix: Prefix; paths: readonly Path[]; best: Route | undefined }> {
    for (const id of this.ids())
      yield { id, prefix: this.prefixes.prefix(id), paths: this.paths(id), best: this.#best[id] };
  }

  counts(source: Source): Counts {
    return this.#counts.get(source) ?? { received: 0, accepted: 0, best: 0 };
  }

  #decideOne(id: number): Change | undefined {
    const routes = this.#routes[id];
    const before = this.#best[id];
    if (!Array.isArray(routes) && !this.#equal.has(id)) {
      const best = routes && isUsable(routes, this.#cost) ? routes : undefined;
      return this.#chosen(id, before, best) ? { id, best, bestChanged: true } : undefined;
    }
    const { best, equal } = decide(this.#list(id), this.#cost);
    const equalBefore = this.#equal.get(id) ?? [];
    if (equal.length > 1) this.#equal.set(id, equal);
    else this.#equal.delete(id);
    const bestChanged = this.#chosen(id, before, best);
    return bestChanged || !sameSet(equalBefore, equal.length > 1 ? equal : [])
      ? { id, best, bestChanged }
      : undefined;
  }

  #chosen(id: number, before: Route | undefined, after: Route | undefined): boolean {
    if (before === after) return false;
    this.#best[id] = after;
    if (before?.source === after?.source) return true;
    const counts = before && this.#counts.get(before.source);
    if (counts) counts.best--;
    if (after) this.#countsOf(after.source).best++;
    return true;
  }

  #list(id: number): readonly Route[] {
    const routes = this.#routes[id];
    return routes === undefined ? [] : Array.isArray(routes) ? routes : [routes];
  }

  #of(source: Source, id: number): Route | undefined {
    const routes = this.#routes[id];
    if (Array.isArray(routes)) return routes.find((r) => r.source === source);
    return routes?.source === source ? routes : undefined;
  }

  #touch(id: number): void {
    while (id >= this.#isDirty.length) this.#isDirty = grown(this.#isDirty, (n) => new Uint8Array(n));
    if (this.#isDirty[id] === 1) return;
    this.#isDirty[id] = 1;
    this.#dirty.push(id);
  }

  #count({ source, attributes }: Route, by: 1 | -1): void {
    const counts = this.#countsOf(source);
    counts.received += by;
    if (attributes) counts.accepted += by;
  }

  #countsOf(source: Source) {
    return remember(this.#counts, source, () => ({ received: 0, accepted: 0, best: 0 }));
  }
}

/** Says nothing new: the same object, or another one made of the same parts. */
const sameRoute = (a: Route, b: Route): boolean =>
  a === b || (a.received === b.received && a.attributes === b.attributes && a.refused === b.refused);

const sameSet = (a: readonly Route[], b: readonly Route[]): boolean =>
  a.length === b.length && a.every((p) => b.includes(p));
