/**
 * Which routes lean on which nexthop object (pure). An object is made for next hops that many routes have in common. When most of the
 * routes that lean on it come to want others, and the same, the object is changed and takes them along: one message for 100,000.
 *
 *     make objects ─▶ write those that must not go along ─▶ change objects ─▶ write the others ─▶ remove objects that nobody needs
 *
 * In this order no route ever has next hops other than it had or is to have.
 */
import { formatNexthop, type Nexthop, type Route, sameButNexthops } from "./route.ts";

/** An object of ours, and what it says. */
export interface Shared {
  readonly id: number;
  readonly hops: readonly Nexthop[];
}

/** All are written in this order; a route with an `nhid` leans on that object. */
export interface SharingPlan {
  readonly make: readonly Shared[];
  readonly before: readonly Route[];
  /** With the routes that need no word of their own. */
  readonly change: readonly (Shared & { readonly along: ReadonlyMap<string, Route> })[];
  readonly after: readonly Route[];
}

export interface SharingInputs {
  /** What the kernel is to have, as routes that lean on nothing. */
  readonly wanted: ReadonlyMap<string, Route>;
  /** What it has, each with the object that it leans on; undefined also where it has several. */
  readonly held: (key: string) => Route | undefined;
  readonly heldKeys: () => Iterable<string>;
  /** Objects that no longer say what we made them say. */
  readonly stale: ReadonlySet<number>;
  /** An id that no object has. */
  readonly freeId: () => number;
}

interface Group extends Shared {
  readonly set: string;
  members: number;
}

interface Change extends Shared {
  readonly set: string;
  readonly along: Map<string, Route>;
}

export class Sharing {
  /** An object is made for next hops that so many routes have; fewer are as quickly written one by one. */
  readonly #from: number;
  readonly #groups = new Map<number, Group>();
  /** Routes by their next hops, whether they lean on an object or not. */
  readonly #counts = new Map<string, number>();

  constructor(from: number) {
    this.#from = from;
  }

  /** Nothing is there. */
  clear(): void {
    this.#groups.clear();
    this.#counts.clear();
  }

  /** An object of ours says this now. */
  says({ id, hops }: Shared): void {
    this.#groups.set(id, { id, hops, set: setOf(hops), members: this.#groups.get(id)?.members ?? 0 });
  }

  gone(id: number): void {
    this.#groups.delete(id);
  }

  hops(id: number | undefined): readonly Nexthop[] | undefined {
    return id === undefined ? undefined : this.#groups.get(id)?.hops;
  }

  /** Objects on which no route leans. */
  get unused(): number[] {
    return [...this.#groups.values()].filter(({ members }) => members === 0).map(({ id }) => id);
  }

  /** A destination has another route now, or none. */
  moved(before: Route | undefined, now: Route | undefined): void {
    if (before) this.#count(before, -1);
    if (now) this.#count(now, 1);
  }

  plan(inputs: SharingInputs): SharingPlan {
    const { wanted } = inputs;
    const changes = this.#changes(inputs);
    const leaving = this.#leaving(inputs, changes);
    const rest = [...wanted].filter(
      ([key]) => !leaving.has(key) && ![...changes.values()].some(({ along }) => along.has(key)),
    );
    const place = this.#placing([...leaving.values(), ...rest.map(([, route]) => route)], inputs.freeId);
    for (const group of this.#groups.values()) if (!changes.has(group.id)) place.offer(group);
    const before = [...leaving.values()].map(place.put);
    for (const change of changes.values()) place.offer(change);
    const after = rest.map(([, route]) => place.put(route));
    return { make: place.made, before, change: [...changes.values()], after };
  }

  /** Objects that are written anew. */
  #changes(inputs: SharingInputs): Map<number, Change> {
    const moving = this.#moving(inputs);
    const stale = [...inputs.stale].filter((id) => !moving.has(id));
    return new Map([...moving, ...this.#restored(stale, inputs)]);
  }

  /** Those most of whose routes want the same other next hops. */
  #moving({ wanted, held }: SharingInputs): Map<number, Change> {
    const ways = new Map<number, Map<string, Change>>();
    for (const [key, route] of wanted) {
      const now = held(key);
      const group = now?.nhid === undefined ? undefined : this.#groups.get(now.nhid);
      if (!now || !group || !canShare(route) || !sameButNexthops(now, route)) continue;
      const set = setOf(route.nexthops);
      if (set === group.set) continue;
      const of = getOr(ways, group.id, () => new Map<string, Change>());
      getOr(of, set, () => ({ id: group.id, hops: route.nexthops, set, along: new Map() })).along.set(
        key,
        route,
      );
    }
    const changes = new Map<number, Change>();
    for (const [id, of] of ways)
      for (const change of of.values())
        if (2 * change.along.size > (this.#groups.get(id)?.members ?? 0)) changes.set(id, change);
    return changes;
  }

  /** Those that are to say again what they said. */
  #restored(stale: readonly number[], { wanted, held, heldKeys }: SharingInputs): Map<number, Change> {
    const groups = stale.flatMap((id) => this.#groups.get(id) ?? []);
    const changes = new Map(groups.map((group) => [group.id, { ...group, along: new Map() }]));
    if (changes.size === 0) return changes;
    for (const key of heldKeys()) {
      const now = held(key);
      const change = now?.nhid === undefined ? undefined : changes.get(now.nhid);
      if (!now || !change) continue;
      const route = wanted.get(key);
      if (!route || (sameButNexthops(now, route) && setOf(route.nexthops) === change.set))
        change.along.set(key, leaningOnNothing(now));
    }
    return changes;
  }

  /** Routes of objects that change which must not go along. */
  #leaving(
    { wanted, held, heldKeys }: SharingInputs,
    changes: ReadonlyMap<number, Change>,
  ): Map<string, Route> {
    const leaving = new Map<string, Route>();
    if ([...changes].every(([id, { along }]) => along.size === this.#groups.get(id)?.members)) return leaving;
    for (const key of heldKeys()) {
      const now = held(key);
      const change = now?.nhid === undefined ? undefined : changes.get(now.nhid);
      if (now && change && !change.along.has(key)) leaving.set(key, wanted.get(key) ?? leaningOnNothing(now));
    }
    return leaving;
  }

  /** Where routes that are about to be written lean. */
  #placing(routes: readonly Route[], freeId: () => number) {
    const writes = new Map<string, number>();
    for (const { nexthops } of routes) add(writes, setOf(nexthops), 1);
    const homes = new Map<string, number>();
    const made: Shared[] = [];
    const make = (set: string, hops: readonly Nexthop[]): number | undefined => {
      if ((writes.get(set) ?? 0) + (this.#counts.get(set) ?? 0) < this.#from) return undefined;
      const id = freeId();
      made.push({ id, hops });
      homes.set(set, id);
      return id;
    };
    const put = (route: Route): Route => {
      if (!canShare(route)) return route;
      const set = setOf(route.nexthops);
      const nhid = homes.get(set) ?? make(set, route.nexthops);
      return nhid === undefined ? route : { ...route, nhid };
    };
    return { made, put, offer: ({ id, set }: Group | Change) => void (homes.has(set) || homes.set(set, id)) };
  }

  #count(route: Route, by: number): void {
    add(this.#counts, setOf(route.nexthops), by);
    const group = route.nhid === undefined ? undefined : this.#groups.get(route.nhid);
    if (group) group.members += by;
  }
}

/** As it is written without an object. */
export function leaningOnNothing(route: Route): Route {
  if (route.nhid === undefined) return route;
  const { nhid: _, ...rest } = route;
  return rest;
}

/** Others name a source or no gateway: they are few. */
const canShare = ({ type, source, nexthops }: Route): boolean =>
  type === "unicast" && !source && nexthops.length > 0 && nexthops.every(({ via, dev }) => via && dev);

const texts = new WeakMap<Nexthop, string>();

function textOf(hop: Nexthop): string {
  const known = texts.get(hop);
  if (known !== undefined) return known;
  const text = formatNexthop(hop).join(" ");
  texts.set(hop, text);
  return text;
}

/** The same text for the same next hops in any order. */
const setOf = (hops: readonly Nexthop[]): string =>
  hops.length === 1 && hops[0] ? textOf(hops[0]) : hops.map(textOf).toSorted().join();

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const there = map.get(key);
  if (there !== undefined) return there;
  const made = make();
  map.set(key, made);
  return made;
}

function add(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
