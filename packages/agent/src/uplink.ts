import type { Node } from "@margay/api";
import { parseAddress, sameAddress } from "@margay/net";
import { type Link, listAddresses, listLinks, type Netlink } from "@margay/netlink";

/** The interface that bears the node's own address; undefined while that is not known. */
export async function uplink(netlink: Netlink, node: Node | undefined): Promise<Link | undefined> {
  const text = node?.spec.bgp?.ipv4Address ?? node?.spec.bgp?.ipv6Address;
  if (text === undefined) return undefined;
  const own = parseAddress(text.split("/")[0] ?? "");
  const found = (await listAddresses(netlink)).find(({ address }) => sameAddress(address, own));
  return (await listLinks(netlink)).find(({ index }) => index === found?.index);
}
