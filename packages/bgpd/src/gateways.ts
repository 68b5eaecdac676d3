/**
 * Peers that the kernel's own routes do not lead to as they should (pure): behind a gateway (`reachableBy`), a host route leads to
 * each, and what they announce goes the same way; or link-local, on one interface of many with the same fe80::/64,
 * perhaps on several.
 */
import { type Address, formatAddress, formatPrefix, prefixOf } from "@margay/net";
import type { Route } from "@margay/netlink";
import { isLinkLocal, type WantedPeer } from "./config.ts";
import { bgpProtocol, type Ways } from "./kernel-routes.ts";

/** By the peer's address, as text. */
export type Gateways = ReadonlyMap<string, Way>;

export type Way =
  | { readonly peer: Address; readonly gateway: Address }
  | { readonly peer: Address; readonly devices: readonly string[] };

export function gatewaysOf(peers: ReadonlyMap<string, WantedPeer>): Gateways {
  const ways = new Map<string, Way>();
  for (const { address: peer, reachableBy: gateway, device } of peers.values()) {
    const key = formatAddress(peer);
    const known = ways.get(key);
    const others = known && "devices" in known ? known.devices : [];
    if (gateway) ways.set(key, { peer, gateway });
    else if (device !== undefined && isLinkLocal(peer)) ways.set(key, { peer, devices: [...others, device] });
  }
  return ways;
}

/** Their host routes by destination; undefined where the gateway itself cannot be reached. */
export function gatewayRoutes(
  gateways: Gateways,
  { fabric, metric }: { readonly fabric: Ways; readonly metric: Readonly<Record<4 | 6, number>> },
): Map<string, Route | undefined> {
  return new Map(
    [...gateways.values()].flatMap((way) => {
      if (!("gateway" in way)) return [];
      const { peer, gateway } = way;
      const dst = prefixOf(peer, peer.family === 4 ? 32 : 128);
      const nexthops = fabric.hopsTo(gateway);
      const route: Route | undefined = nexthops && {
        ...{ dst, protocol: bgpProtocol, type: "unicast", metric: metric[peer.family], nexthops },
      };
      return [[formatPrefix(dst), route] as const];
    }),
  );
}
