import type { Node } from "@margay/api";
import { parseAddress, sameAddress } from "@margay/net";
import { type Link, listAddresses, listLinks, listRoutes, type Netlink } from "@margay/netlink";

/**
 * The interface that bears the node's own address; undefined while that is not known. An address that is announced rather than
 * on a link (on lo) says nothing of the way out: then, of those that lead to a gateway, the one with the least MTU.
 */
export async function uplink(netlink: Netlink, node: Node | undefined): Promise<Link | undefined> {
  const text = node?.spec.bgp?.ipv4Address ?? node?.spec.bgp?.ipv6Address;
  if (text === undefined) return undefined;
  const own = parseAddress(text.split("/")[0] ?? "");
  const found = (await listAddresses(netlink)).find(({ address }) => sameAddress(address, own));
  const links = await listLinks(netlink);
  const link = links.find(({ index }) => index === found?.index);
  if (link?.name !== "lo") return link;
  const ways = (await listRoutes(netlink, { family: own.family })).flatMap(({ nexthops }) =>
    nexthops.flatMap(({ via, dev }) => (via ? [dev] : [])),
  );
  return links.filter(({ name }) => ways.includes(name)).sort((a, b) => a.mtu - b.mtu)[0];
}
