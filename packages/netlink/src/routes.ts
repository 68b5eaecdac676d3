import type { Family } from "@margay/net";
import { NetlinkError } from "./error.ts";
import { flags } from "./message.ts";
import type { Netlink } from "./netlink.ts";
import { formatRoute, type Nexthop, type Route, tableOf } from "./route.ts";
import { delRoute, dumpRoutes, type Names, newRoute, readRoute } from "./route-message.ts";

/** What to list; absent means all. The kernel filters (strict check), and so do we, for old kernels. */
export interface RouteFilter {
  readonly family?: Family;
  readonly protocol?: number;
  readonly table?: number;
}

/** A route that the kernel refused, or that is not ours to change. */
export interface RefusedRoute {
  readonly route: Route;
  readonly error: NetlinkError;
}

/** Routes of both families unless filtered; other namespaces' interfaces show as "if<index>". */
export async function listRoutes(nl: Netlink, filter: RouteFilter = {}): Promise<Route[]> {
  const names = await nl.names();
  const families = filter.family ? [filter.family] : ([4, 6] as const);
  const found: Route[] = [];
  for (const family of families) found.push(...(await dumpFamily(nl, names, { ...filter, family })));
  return found;
}

async function dumpFamily(
  nl: Netlink,
  names: Names,
  filter: RouteFilter & { family: Family },
): Promise<Route[]> {
  const { family, protocol, table } = filter;
  const wanted = (r: Route) =>
    (protocol === undefined || r.protocol === protocol) && (table === undefined || tableOf(r) === table);
  try {
    return await nl.requests.dump(
      dumpRoutes({ family, protocol: protocol ?? 0, table: table ?? 0 }),
      (message) => {
        const route = readRoute(message, names);
        return route?.dst.family === family && wanted(route) ? route : undefined;
      },
    );
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENOENT") return []; // no route was ever in that table
    throw error;
  }
}

/**
 * Adds routes that must not exist: EEXIST for a destination (with the same table and metric) that any route has,
 * whoever's it is. Every route is tried; the refused ones are answered.
 */
export const addRoutes = (nl: Netlink, routes: readonly Route[]): Promise<RefusedRoute[]> =>
  send(nl, routes, flags.create | flags.exclusive);

/**
 * Adds or replaces, atomically for each destination, table and metric, WHOSEVER route is there: only for
 * destinations that the caller knows to be its own.
 */
export const replaceRoutes = (nl: Netlink, routes: readonly Route[]): Promise<RefusedRoute[]> =>
  send(nl, routes, flags.create | flags.replace);

async function send(nl: Netlink, routes: readonly Route[], how: number): Promise<RefusedRoute[]> {
  const names = await indexesOf(
    nl,
    routes.flatMap(({ nexthops }) => nexthops),
  );
  const refused: RefusedRoute[] = [];
  const possible: Route[] = [];
  for (const route of routes) {
    const missing = route.nexthops.find(({ dev }) => dev !== undefined && names.index(dev) === undefined);
    if (!missing) possible.push(route);
    else
      refused.push({
        route,
        error: new NetlinkError("ENODEV", `add route ${formatRoute(route)}`, `no link ${missing.dev}`),
      });
  }
  const failures = await nl.requests.transact(possible.map((route) => newRoute(route, names, how)));
  return [...refused, ...failures.flatMap(({ index, error }) => refusal(possible[index], error))];
}

const refusal = (route: Route | undefined, error: NetlinkError): RefusedRoute[] =>
  route ? [{ route, error }] : [];

/** The indexes of just the interfaces that these name, as the kernel has them now. */
export async function indexesOf(nl: Netlink, hops: readonly Nexthop[]): Promise<Names> {
  const wanted = new Set(hops.flatMap(({ dev }) => (dev === undefined ? [] : [dev])));
  const indexes = new Map((await nl.linksNamed([...wanted])).map(({ name, index }) => [name, index]));
  return { index: (name) => indexes.get(name), name: () => undefined };
}

/** Deletes by destination, table, metric and protocol; one already gone (ESRCH) is success. */
export async function deleteRoutes(nl: Netlink, routes: readonly Route[]): Promise<RefusedRoute[]> {
  const failures = await nl.requests.transact(routes.map(delRoute));
  return failures
    .filter(({ error }) => error.code !== "ESRCH" && error.code !== "ENOENT")
    .flatMap(({ index, error }) => refusal(routes[index], error));
}
