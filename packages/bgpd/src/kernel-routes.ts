/** From the Loc-RIB to kernel routes (pure). */
import { type Route as BgpRoute, isLinkLocal, linkBandwidth } from "@margay/bgp";
import { type Address, contains, formatAddress, Lpm, type Prefix, width } from "@margay/net";
import { metricOf, type Nexthop, type Route } from "@margay/netlink";
import type { Gateways } from "./gateways.ts";
import { textOf } from "./text-of.ts";

/** Our mark on kernel routes. */
export const bgpProtocol = 143;

/** ECMP: at most so many next hops, as BIRD's `merge paths`. */
const widest = 16;

/** The way to a next hop, with its cost for the decision process. */
interface Way {
  readonly hops: readonly Nexthop[];
  readonly cost: number;
}

/** A next hop that was asked for; no way when there is none. */
interface Known {
  readonly hop: Address;
  readonly way: Way | undefined;
}

/**
 * How next hops are reached: by the kernel's own routes, never by those we made, so that no route can lean on itself.
 * A next hop behind a gateway becomes that gateway (RFC 4271 §5.1.3 recursive lookup).
 */
export class Fabric {
  readonly #routes = new Lpm<Route>();
  readonly #known = new Map<string, Known>();
  /** Next hops, as text, behind a gateway whatever the table says. */
  readonly #gateways: Gateways;
  readonly #most: number;
  #isOld = false;
  #isDoubtful = false;

  /** `routes` is the main table; of equal destinations the lowest metric counts. `nextHops` are in use: a change of their ways matters. */
  constructor(
    routes: readonly Route[],
    { nextHops = [], gateways = new Map() }: { nextHops?: Iterable<Address>; gateways?: Gateways } = {},
  ) {
    this.#gateways = gateways;
    for (const route of routes.toSorted((a, b) => metricOf(b) - metricOf(a)))
      if (route.protocol !== bgpProtocol) this.#routes.set(route.dst, route);
    for (const way of gateways.values()) if ("gateway" in way) this.#ask(way.gateway);
    for (const hop of nextHops) this.#ask(hop);
    this.#most = 2 * this.#known.size + 1024;
  }

  /** Time for another: most of the next hops that were asked for are used no more, or one was asked for after the table had changed. */
  get isSpent(): boolean {
    return this.#isDoubtful || this.#known.size > this.#most;
  }

  /** The table is another one, alike for all that was asked for so far. */
  tableChanged(): void {
    this.#isOld = true;
  }

  /** Where to send packets for a next hop; undefined when there is no way. */
  hopsTo(nextHop: Address): readonly Nexthop[] | undefined {
    return this.#ask(nextHop)?.hops;
  }

  /** RFC 4271 §9.1.2.2 e: 0 on a connected network, else above it as much as the route's metric; undefined when there is no way. */
  cost(nextHop: Address): number | undefined {
    return this.#ask(nextHop)?.cost;
  }

  /** Whether a change of the route to `destination` can change an answer: not so for the routes of pods. */
  concerns(destination: Prefix): boolean {
    if (destination.length === width(destination.family)) return this.#known.has(formatAddress(destination));
    return [...this.#known.values()].some(({ hop }) => contains(destination, hop));
  }

  /** Whether a next hop is reached through this interface. */
  uses(dev: string): boolean {
    return [...this.#known.values()].some(({ way }) => way?.hops.some((h) => h.dev === dev));
  }

  /** Whether all that is in use, and `before` was asked for, is answered alike. */
  answersAs(before: Fabric): boolean {
    return [...this.#known].every(([key, { way }]) => {
      const then = before.#known.get(key);
      return !then || textOf(then.way) === textOf(way);
    });
  }

  #ask(hop: Address): Way | undefined {
    const key = formatAddress(hop);
    const known = this.#known.get(key);
    if (known) return known.way;
    if (this.#isOld) this.#isDoubtful = true;
    const way = this.#wayTo(key, hop);
    this.#known.set(key, { hop, way });
    return way;
  }

  #wayTo(key: string, nextHop: Address): Way | undefined {
    const way = this.#gateways.get(key);
    if (way && "devices" in way) return { hops: way.devices.map((dev) => ({ via: nextHop, dev })), cost: 0 };
    const route = this.#routes.match(way?.gateway ?? nextHop)?.value;
    if (route?.type !== "unicast" || route.nexthops.length === 0) return undefined;
    const hops = route.nexthops.map((hop) =>
      hop.via ? hop : { via: way?.gateway ?? nextHop, ...(hop.dev ? { dev: hop.dev } : {}) },
    );
    const isConnected = hops.some((hop) => hop.via?.bits === nextHop.bits);
    return { hops, cost: isConnected ? 0 : Math.min(1 + metricOf(route), mostCost) };
  }
}

/** Costs are kept as signed words. */
const mostCost = 2 ** 31 - 1;

/** Who says where packets for a next hop go. */
export type Ways = Pick<Fabric, "hopsTo">;

export interface RouteInputs {
  readonly prefix: Prefix;
  /** The best path and its equals. */
  readonly paths: readonly BgpRoute[];
  readonly fabric: Ways;
  readonly metric: number;
}

/** The kernel route of one prefix; undefined when the best path is our own, or leads nowhere. */
export function kernelRoute({ prefix, paths, fabric, metric }: RouteInputs): Route | undefined {
  if (paths.length === 0 || paths.some((p) => p.source.kind === "local")) return undefined;
  const share = shares(paths);
  const hops = paths.flatMap((path, i) => weighted(hopsOf(path, fabric), share?.[i]));
  const distinct = [...new Map(hops.map((h) => [`${h.via && formatAddress(h.via)}%${h.dev}`, h])).values()];
  if (distinct.length === 0) return undefined;
  const nexthops = distinct.slice(0, widest);
  const priority = paths[0]?.attributes?.priority ?? metric; // a filter's word comes first
  return { dst: prefix, protocol: bgpProtocol, type: "unicast", metric: priority, nexthops };
}

/** Of a link-local next hop, which another interface may have too, on the interface of who named it. */
function hopsOf({ attributes, source: { device } }: BgpRoute, fabric: Ways): readonly Nexthop[] {
  const hop = attributes?.nextHop?.address;
  const hops = (hop && fabric.hopsTo(hop)) ?? [];
  return hop && device !== undefined && isLinkLocal(hop) ? hops.filter(({ dev }) => dev === device) : hops;
}

/**
 * Each path's part of a hundred, by link bandwidth, as FRR has it: at least 1. Undefined where a path says none: all are equal
 * then (draft-ietf-idr-link-bandwidth §2).
 */
function shares(paths: readonly BgpRoute[]): readonly number[] | undefined {
  if (paths.length < 2) return undefined;
  const bandwidths = paths.map(({ attributes }) => attributes && linkBandwidth(attributes));
  const known = bandwidths.filter((b) => b !== undefined);
  if (known.length < paths.length) return undefined;
  const total = known.reduce((sum, b) => sum + b, 0);
  return known.map((b) => Math.max(1, Math.floor((100 * b) / total)));
}

/** Hops of one path have its share together. */
const weighted = (hops: readonly Nexthop[], share: number | undefined): readonly Nexthop[] =>
  share === undefined
    ? hops
    : hops.map((hop) => ({ ...hop, weight: Math.max(1, Math.floor(share / hops.length)) }));
