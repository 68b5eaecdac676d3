/** Peers behind a gateway (`reachableBy`): a host route leads to each, and what they announce goes the same way (pure). */
import { type Address, formatAddress, formatPrefix, prefixOf } from "@margay/net";
import type { Route } from "@margay/netlink";
import type { WantedPeer } from "./config.ts";
import { bgpProtocol, type Fabric } from "./kernel-routes.ts";

/** By the peer's address, as text. */
export type Gateways = ReadonlyMap<string, { readonly peer: Address; readonly gateway: Address }>;

export const gatewaysOf = (peers: ReadonlyMap<string, WantedPeer>): Gateways =>
  new Map(
    [...peers.values()].flatMap(({ address: peer, reachableBy: gateway }) =>
      gateway ? [[formatAddress(peer), { peer, gateway }] as const] : [],
    ),
  );

/** Their host routes by destination; undefined where the gateway itself cannot be reached. */
export function gatewayRoutes(
  gateways: Gateways,
  { fabric, metric }: { readonly fabric: Fabric; readonly metric: Readonly<Record<4 | 6, number>> },
): Map<string, Route | undefined> {
  return new Map(
    [...gateways.values()].map(({ peer, gateway }) => {
      const dst = prefixOf(peer, peer.family === 4 ? 32 : 128);
      const nexthops = fabric.hopsTo(gateway);
      const route: Route | undefined = nexthops && {
        ...{ dst, protocol: bgpProtocol, type: "unicast", metric: metric[peer.family], nexthops },
      };
      return [formatPrefix(dst), route];
    }),
  );
}
