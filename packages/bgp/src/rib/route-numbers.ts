/** Small numbers for the routes that a RIB holds, each counted, with what is asked of them in columns. */
import type { Address } from "@margay/net";
import { remember } from "../remember.ts";
import type { Cost } from "./decision.ts";
import { DecisionKeys } from "./decision-keys.ts";
import type { Route, Source } from "./path.ts";
import { grown } from "./prefix-table.ts";
import { LearnedRoute } from "./route-store.ts";

/** Prefixes of one source: in its Adj-RIB-In, accepted by import policy, chosen as best. */
export interface Counts {
  readonly received: number;
  readonly accepted: number;
  readonly best: number;
}

/** What a RIB counts of one source. */
export interface Account {
  readonly source: Source;
  received: number;
  accepted: number;
  best: number;
}

/** Cost of a route that cannot be used. */
export const unusable = -1;
const unknown = -2;

export class RouteNumbers {
  readonly keys = new DecisionKeys();
  readonly routes: (Route | undefined)[] = [];
  readonly accounts: Account[] = [];
  /** Of those that do not know it themselves. */
  readonly #numbers = new Map<Route, number>();
  readonly #free: number[] = [];
  #refs = new Int32Array(64);
  #costs = new Int32Array(64);
  #accepted = new Uint8Array(64);
  readonly #sources = new Map<Source, Account>();
  /** By next hop object: those of one source are shared. */
  #hops = new Map<Address, number>();
  readonly #cost: Cost;

  constructor(cost: Cost) {
    this.#cost = cost;
  }

  /** The route's number, held once more. */
  take(route: Route): number {
    const number = this.#numberOf(route) ?? this.#add(route);
    this.#refs[number]!++; // numbers come from us
    return number;
  }

  retain(number: number): void {
    this.#refs[number]!++; // numbers come from us
  }

  release(number: number, times = 1): void {
    this.#refs[number]! -= times; // numbers come from us
    if (this.#refs[number]! > 0) return;
    const route = this.routes[number]!; // numbered
    this.routes[number] = undefined;
    this.#free.push(number);
    const hop = hopOf(route);
    if (hop) this.#hops.delete(hop); // perhaps in use no more: nobody would say that the way is another
    if (route instanceof LearnedRoute && route.numberedBy === this) route.numberedBy = undefined;
    else this.#numbers.delete(route);
    if (route instanceof LearnedRoute) route.release();
  }

  account(source: Source): Account {
    return remember(this.#sources, source, () => ({ source, received: 0, accepted: 0, best: 0 }));
  }

  counts(source: Source): Counts {
    const { received = 0, accepted = 0, best = 0 } = this.#sources.get(source) ?? {};
    return { received, accepted, best };
  }

  forget(source: Source): void {
    this.#sources.delete(source);
  }

  isAccepted(number: number): boolean {
    return this.#accepted[number] === 1;
  }

  /** Cost of the way to the route's next hop, or `unusable`: refused by import policy, or no way there. */
  cost(number: number): number {
    const known = this.#costs[number]!; // numbers come from us
    return known === unknown ? this.#askCost(number) : known;
  }

  /** The cost function answers otherwise now. */
  costsChanged(): void {
    this.#hops.clear();
    for (let number = 0; number < this.routes.length; number++)
      if (this.#accepted[number] === 1) this.#costs[number] = unknown;
  }

  /** Of the routes held: an object each, shared by those of one source. */
  nextHops(): ReadonlySet<Address> {
    const all = new Set<Address>();
    for (const route of this.routes) {
      if (!route) continue;
      const hops = route instanceof LearnedRoute ? [route] : [route.received, route.attributes];
      for (const hop of hops) if (hop?.nextHop) all.add(hop.nextHop.address);
    }
    return all;
  }

  #askCost(number: number): number {
    const route = this.routes[number]!; // numbered
    const hop = hopOf(route);
    let cost = 0; // routes of our own need no next hop
    if (route.source.kind !== "local" && hop) {
      const known = this.#hops.get(hop);
      cost = known ?? this.#cost(hop) ?? unusable;
      if (this.#hops.size >= mostHops) this.#hops.clear();
      if (known === undefined) this.#hops.set(hop, cost);
    }
    this.#costs[number] = cost;
    return cost;
  }

  #numberOf(route: Route): number | undefined {
    return route instanceof LearnedRoute && route.numberedBy === this
      ? route.number
      : this.#numbers.get(route);
  }

  #add(route: Route): number {
    const number = this.#free.pop() ?? this.routes.length;
    if (number >= this.#refs.length) {
      this.#refs = grown(this.#refs, (n) => new Int32Array(n));
      this.#costs = grown(this.#costs, (n) => new Int32Array(n));
      this.#accepted = grown(this.#accepted, (n) => new Uint8Array(n));
    }
    const isLearned = route instanceof LearnedRoute;
    const isAccepted = isLearned ? route.refused === undefined : route.attributes !== undefined;
    this.routes[number] = route;
    this.accounts[number] = this.account(route.source);
    if (isLearned && !route.numberedBy) {
      route.numberedBy = this;
      route.number = number;
    } else this.#numbers.set(route, number);
    this.#refs[number] = 0;
    this.#costs[number] = isAccepted ? unknown : unusable;
    this.#accepted[number] = isAccepted ? 1 : 0;
    this.keys.set(number, route);
    if (isLearned) route.retain();
    return number;
  }
}

const hopOf = (route: Route): Address | undefined =>
  (route instanceof LearnedRoute ? route : route.attributes)?.nextHop?.address;

const mostHops = 65_536;
