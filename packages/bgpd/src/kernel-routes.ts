/** From the Loc-RIB to kernel routes (pure). */
import { type Attributes, type Route as BgpRoute, linkBandwidth } from "@margay/bgp";
import { type Address, contains, formatAddress, Lpm, type Prefix } from "@margay/net";
import type { Nexthop, Route } from "@margay/netlink";
import type { Gateways } from "./gateways.ts";

/** Our mark on kernel routes. */
export const bgpProtocol = 143;

/** ECMP: at most so many next hops, as BIRD's `merge paths`. */
const widest = 16;

/**
 * How next hops are reached: by the kernel's own routes, never by those we made, so that no route can lean on itself.
 * A next hop behind a gateway becomes that gateway (RFC 4271 §5.1.3 recursive lookup).
 */
export class Fabric {
  readonly #routes = new Lpm<Route>();
  readonly #known = new Map<string, readonly Nexthop[] | undefined>();
  /** Every next hop that was ever asked for. */
  readonly #asked: Map<string, Address>;

  /** Next hops, as text, behind a gateway whatever the table says. */
  readonly #gateways: Gateways;

  /** `routes` is the main table; of equal destinations the lowest metric counts. `before` is the fabric that this one follows. */
  constructor(routes: readonly Route[], before?: Fabric, gateways: Gateways = new Map()) {
    this.#gateways = gateways;
    this.#asked = before ? before.#asked : new Map();
    for (const route of routes.toSorted((a, b) => (b.metric ?? 0) - (a.metric ?? 0)))
      if (route.protocol !== bgpProtocol) this.#routes.set(route.dst, route);
  }

  /** Where to send packets for a next hop; undefined when there is no way. */
  hopsTo(nextHop: Address): readonly Nexthop[] | undefined {
    const key = formatAddress(nextHop);
    if (!this.#known.has(key)) {
      this.#asked.set(key, nextHop);
      this.#known.set(key, this.#wayTo(key, nextHop));
    }
    return this.#known.get(key);
  }

  /** Whether a change of the route to `destination` can change an answer: not so for the routes of pods. */
  concerns(destination: Prefix): boolean {
    const gateways = [...this.#gateways.values()].flatMap((way) => ("gateway" in way ? [way.gateway] : []));
    const asked = [...this.#asked.values(), ...gateways];
    return asked.some((hop) => contains(destination, hop));
  }

  /** Whether a next hop is reached through this interface. */
  uses(dev: string): boolean {
    return [...this.#known.values()].some((hops) => hops?.some((h) => h.dev === dev));
  }

  /** Cost of a next hop for the decision process: 0 on a connected network, 1 behind a gateway. */
  cost(nextHop: Address): number | undefined {
    const hops = this.hopsTo(nextHop);
    return hops && (hops.some((h) => h.via?.bits === nextHop.bits) ? 0 : 1);
  }

  #wayTo(key: string, nextHop: Address): readonly Nexthop[] | undefined {
    const way = this.#gateways.get(key);
    if (way && "device" in way) return [{ via: nextHop, dev: way.device }];
    return this.#lookUp(way?.gateway ?? nextHop);
  }

  #lookUp(nextHop: Address): readonly Nexthop[] | undefined {
    const route = this.#routes.match(nextHop)?.value;
    if (route?.type !== "unicast" || route.nexthops.length === 0) return undefined;
    return route.nexthops.map((hop) =>
      hop.via ? hop : { via: nextHop, ...(hop.dev ? { dev: hop.dev } : {}) },
    );
  }
}

export interface RouteInputs {
  readonly prefix: Prefix;
  /** The best path and its equals. */
  readonly paths: readonly BgpRoute[];
  readonly fabric: Fabric;
  readonly metric: number;
}

/** The kernel route of one prefix; undefined when the best path is our own, or leads nowhere. */
export function kernelRoute({ prefix, paths, fabric, metric }: RouteInputs): Route | undefined {
  if (paths.length === 0 || paths.some((p) => p.source.kind === "local")) return undefined;
  const share = shares(paths);
  const hops = paths.flatMap(({ attributes }, i) => weighted(hopsOf(attributes, fabric), share?.[i]));
  const distinct = [...new Map(hops.map((h) => [`${h.via && formatAddress(h.via)}%${h.dev}`, h])).values()];
  if (distinct.length === 0) return undefined;
  const nexthops = distinct.slice(0, widest);
  const priority = paths[0]?.attributes?.priority ?? metric; // a filter's word comes first
  return { dst: prefix, protocol: bgpProtocol, type: "unicast", metric: priority, nexthops };
}

const hopsOf = (attributes: Attributes | undefined, fabric: Fabric): readonly Nexthop[] =>
  (attributes?.nextHop && fabric.hopsTo(attributes.nextHop.address)) ?? [];

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
