import type { Node } from "@margay/api";
import { type Family, parseAddress, sameAddress } from "@margay/net";
import { type Link, listAddresses, listLinks, listRoutes, type Netlink } from "@margay/netlink";
import { DEVICES } from "./overlay/wanted.ts";

/** The interface by which packets with the node's own address leave; undefined while that is not known. */
export async function uplink(netlink: Netlink, node: Node | undefined): Promise<Link | undefined> {
  const text = node?.spec.bgp?.ipv4Address ?? node?.spec.bgp?.ipv6Address;
  if (text === undefined) return undefined;
  const own = parseAddress(text.split("/")[0] ?? "");
  const found = (await listAddresses(netlink)).find(({ address }) => sameAddress(address, own));
  const links = await listLinks(netlink);
  const link = links.find(({ index }) => index === found?.index);
  return link && wayOut(netlink, link, { family: own.family, links });
}

const TUNNELS: readonly string[] = Object.values(DEVICES);

/**
 * By which interface packets leave that have an address of this one. An address that is announced rather than on a link (on lo) says
 * nothing of it: then, of those that lead to a gateway, the one with the least MTU. Our own tunnels lead out by another.
 */
export async function wayOut(
  netlink: Netlink,
  link: Link,
  { family, links }: { family: Family; links: readonly Link[] },
): Promise<Link | undefined> {
  if (link.name !== "lo") return link;
  const ways = (await listRoutes(netlink, { family })).flatMap(({ nexthops }) =>
    nexthops.flatMap(({ via, dev }) => (via && dev && !TUNNELS.includes(dev) ? [dev] : [])),
  );
  return links.filter(({ name }) => ways.includes(name)).sort((a, b) => a.mtu - b.mtu)[0];
}
