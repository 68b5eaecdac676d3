/** Peers that are known by their interface alone ("unnumbered"): whoever advertises itself as a router there (pure). */
import type { Address } from "@margay/net";
import type { WantedPeer } from "./config.ts";
import { keyOf } from "./settings.ts";

/** Of a peer that nobody has seen yet. */
const unknown: Address = { family: 6, bits: 0n };

type Rest = Omit<WantedPeer, "address" | "unnumbered"> & { readonly device: string };

/** By its interface; IPv4 routes go by way of its link-local address (RFC 8950). */
export const unnumbered = (peer: Rest): WantedPeer => ({
  ...peer,
  address: unknown,
  unnumbered: true,
  sessionTerms: { ...peer.sessionTerms, extendedNextHop: true },
});

/** The interfaces that a neighbour is looked for on. */
export const devicesOf = (peers: ReadonlyMap<string, WantedPeer>): ReadonlySet<string> =>
  new Set([...peers.values()].flatMap((p) => (p.unnumbered && p.device !== undefined ? [p.device] : [])));

/** All peers with the addresses that were found, by interface; a session without one stays down and says so. */
export function located(
  peers: ReadonlyMap<string, WantedPeer>,
  found: ReadonlyMap<string, Address>,
): ReadonlyMap<string, WantedPeer> {
  const taken = new Map([...peers.values()].flatMap((p) => (p.unnumbered ? [] : [[keyOf(p), p]])));
  const locate = (peer: WantedPeer): WantedPeer => {
    const { device = "", unnumbered: isUnnumbered } = peer;
    if (!isUnnumbered) return peer;
    const address = found.get(device);
    if (!address) return without(peer, `no router has advertised itself on ${device} yet`);
    const there = { ...peer, address };
    const key = keyOf(there);
    const other = taken.get(key);
    if (other) return without(peer, `its address ${key} is also that of ${other.name}`);
    taken.set(key, there);
    return there;
  };
  return new Map([...peers.values()].map(locate).map((peer) => [keyOf(peer), peer]));
}

const without = (peer: WantedPeer, problem: string): WantedPeer => ({
  ...peer,
  problem: peer.problem ?? problem,
});
