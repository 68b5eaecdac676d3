import { formatPrefix, sameAddress } from "@margay/net";
import type { Target } from "@margay/reconcile";
import { NetlinkError } from "./error.ts";
import type { Netlink } from "./netlink.ts";
import type { NexthopObject } from "./nexthop-message.ts";
import { formatRoute, metricOf, type Nexthop, type Route, sameRoute, tableOf } from "./route.ts";
import { addRoutes, deleteRoutes, listRoutes, type RefusedRoute, replaceRoutes } from "./routes.ts";
import { type Holding, SharedHops } from "./shared-hops.ts";
import { leaningOnNothing } from "./sharing.ts";

export interface RouteTargetOptions {
  /** Our mark: only routes of this protocol are listed, replaced or removed. Of each destination, one. */
  readonly protocol: number;
  readonly family?: 4 | 6;
  /** Which of that protocol's: a program may keep two kinds apart, each a target of its own. All when absent. */
  readonly only?: (route: Route) => boolean;
  /**
   * Told of each route that could not be put (its interface is not there yet, a foreign route is in its place), while
   * the others are in. Without it `put` throws the first such error, after having tried them all.
   */
  readonly onRefused?: (refused: RefusedRoute) => void;
  /**
   * From so many routes with the same next hops on they lean on nexthop objects of the same protocol: what changes alike for most of them
   * is one message. Never when absent.
   */
  readonly shareFrom?: number;
  /** This kernel has no such objects. */
  readonly onUnsupported?: () => void;
}

/** A target that need not read all routes again when somebody else changed one. */
export interface RouteTarget extends Target<Route> {
  /**
   * Takes in what the kernel said that somebody else did; all such notifications since `list`, in order. Answers with the key of the
   * destination, when it may be no more as it was written: it is to be put or removed again whatever is believed of it.
   */
  heard(change: "new" | "deleted", route: Route): string | undefined;
  /**
   * The same of a nexthop object, with the keys of all destinations that are gone with it, or of one that leans on it. "all": most are
   * gone, or it happened while routes were read or written; `list` tells which.
   */
  heardObject(change: "new" | "deleted", object: NexthopObject): readonly string[] | "all";
}

/**
 * The routes of one protocol. Linux tells routes apart by destination, table and metric, not by protocol: a
 * replace would overwrite anyone's. So a route is added exclusively unless the last reading (or our own put) showed
 * that the one in its place is ours; and if that add finds the place taken, the table is read again before anything is
 * replaced. Between that reading and the replace lies a window that no netlink flag closes: distrust on notifications.
 */
export function routeTarget(nl: Netlink, options: RouteTargetOptions): RouteTarget {
  /** Ours by destination, as last read or written; several when the metric or table was changed. */
  let held = new Map<string, Route[]>();
  /** Destinations that the last reading showed to be others'; nothing was heard of them since. */
  const foreigners = new Set<string>();
  /** Readings and puts under way: what they saw or wrote is not in `held` yet. */
  let underWay = 0;
  const busy = async <A>(act: () => Promise<A>): Promise<A> => {
    underWay++;
    try {
      return await act();
    } finally {
      underWay--;
    }
  };
  const { protocol, shareFrom: from, onUnsupported } = options;
  const shared = from === undefined ? undefined : new SharedHops(nl, { protocol, from, onUnsupported });

  const list = async (): Promise<ReadonlyMap<string, Route>> => {
    const all = await listRoutes(nl, options);
    const [ours, others] = [all.filter(isOurs), all.filter((r) => !isOurs(r))];
    await shared?.read(new Set(others.flatMap(({ nhid }) => nhid ?? [])));
    held = Map.groupBy(ours.map(expanded), (r) => formatPrefix(r.dst));
    foreigners.clear();
    const first = new Map<string, Route>();
    for (const [key, [route]] of held) {
      shared?.moved(undefined, route);
      if (route) first.set(key, leaningOnNothing(route));
    }
    return first;
  };
  const isOurs = (route: Route) => route.protocol === protocol && (options.only?.(route) ?? true);
  const expanded = (route: Route) => shared?.expanded(route) ?? route;

  const hold = (key: string, routes: Route[]): void => {
    shared?.moved(held.get(key)?.[0], routes[0]);
    if (routes.length > 0) held.set(key, routes);
    else held.delete(key);
  };

  const put = async (wanted: ReadonlyMap<string, Route>): Promise<void> => {
    const refused = shared ? await shared.put(wanted, holding) : await write([...wanted.values()]);
    report(refused, options.onRefused);
  };

  const holding: Holding = {
    held: (key) => {
      const here = held.get(key);
      return here?.length === 1 ? here[0] : undefined;
    },
    heldKeys: () => held.keys(),
    took: (key, route) => hold(key, [route]),
    write: (routes) => write(routes),
  };

  /** Every one is tried. */
  const write = async (all: readonly Route[]): Promise<readonly RefusedRoute[]> => {
    const owned = (r: Route) => held.get(formatPrefix(r.dst))?.some((h) => samePlace(h, r)) ?? false;
    const refused = [...(await replaceRoutes(nl, all.filter(owned)))];
    const taken: Route[] = [];
    for (const failure of await addRoutes(
      nl,
      all.filter((r) => !owned(r)),
    ))
      if (failure.error.code === "EEXIST") taken.push(failure.route);
      else refused.push(failure);
    if (taken.some((r) => !foreigners.has(formatPrefix(r.dst)))) await list();
    refused.push(...(await replaceRoutes(nl, taken.filter(owned))));
    for (const route of taken.filter((r) => !owned(r))) {
      foreigners.add(formatPrefix(route.dst));
      refused.push(foreign(route));
    }
    const failed = new Set(refused.map(({ route }) => route));
    const done = all.filter((r) => !failed.has(r));
    await deleteOthers(done);
    for (const route of done) hold(formatPrefix(route.dst), [route]);
    return refused;
  };

  /** What we had for the same destinations under another metric or in another table: after the new one is in. */
  const deleteOthers = async (routes: readonly Route[]): Promise<void> => {
    const others = routes.flatMap(
      (r) => held.get(formatPrefix(r.dst))?.filter((h) => !samePlace(h, r)) ?? [],
    );
    report(await deleteRoutes(nl, others), undefined);
  };

  const remove = async (keys: readonly string[]): Promise<void> => {
    const refused = await deleteRoutes(
      nl,
      keys.flatMap((key) => held.get(key) ?? []),
    );
    for (const key of keys) hold(key, []);
    report(refused, undefined);
    await shared?.collect();
  };

  const same = (actual: Route, wanted: Route) =>
    sameRoute(actual, wanted) && (held.get(formatPrefix(wanted.dst))?.length ?? 1) === 1;

  const heard: RouteTarget["heard"] = (change, told) => {
    const route = expanded(told);
    const key = formatPrefix(route.dst);
    const here = held.get(key) ?? [];
    const there = here.find((h) => samePlace(h, route));
    foreigners.delete(key);
    if (!isOurs(route) && (change === "deleted" || !there)) return undefined;
    if (change === "new" && there?.nhid !== undefined && there.nhid === route.nhid && sameRoute(there, route))
      return undefined; // told of all that lean on an object, when that was changed
    const rest = there && change === "deleted" ? withoutHops(there, route) : undefined;
    const now = isOurs(route) && change === "new" ? route : rest;
    hold(key, [...here.filter((h) => h !== there), ...(now ? [now] : [])]);
    return key;
  };

  /** One that was changed is told again what it is with the next put, of whatever route. */
  const heardObject: RouteTarget["heardObject"] = (change, object) => {
    const about = shared?.heard(change, object);
    if (!about) return [];
    if (underWay > 0) return "all";
    if (!about.isGone) return leaningOn(about.id).take(1).toArray();
    const gone = leaningOn(about.id).toArray();
    if (2 * gone.length > held.size) return "all";
    for (const key of gone) hold(key, held.get(key)?.filter(({ nhid }) => nhid !== about.id) ?? []);
    return gone;
  };

  const leaningOn = (id: number) =>
    held
      .entries()
      .filter(([, routes]) => routes.some(({ nhid }) => nhid === id))
      .map(([key]) => key);

  return {
    heard,
    heardObject,
    name: options.family ? `routes${options.family}` : "routes",
    list: () => busy(list),
    put: (wanted) => busy(() => put(wanted)),
    remove,
    same,
  };
}

/** What is left of a route after some of its next hops went, as IPv6 tells it; undefined when nothing is. */
function withoutHops(route: Route, { nexthops: gone }: Route): Route | undefined {
  const left = route.nexthops.filter((hop) => !gone.some((g) => g.dev === hop.dev && sameVia(g, hop)));
  return route.dst.family === 6 && gone.length > 0 && left.length > 0
    ? { ...route, nexthops: left }
    : undefined;
}

const sameVia = (a: Nexthop, b: Nexthop): boolean =>
  a.via && b.via ? sameAddress(a.via, b.via) : a.via === b.via;

const samePlace = (a: Route, b: Route): boolean => tableOf(a) === tableOf(b) && metricOf(a) === metricOf(b);

const foreign = (route: Route): RefusedRoute => ({
  route,
  error: new NetlinkError(
    "EEXIST",
    `add route ${formatRoute(route)}`,
    "another protocol's route is in its place",
  ),
});

function report(refused: readonly RefusedRoute[], onRefused: RouteTargetOptions["onRefused"]): void {
  const [first] = refused;
  if (first && !onRefused) throw first.error;
  for (const one of refused) onRefused?.(one);
}
