import type { Node } from "@margay/api";
import { parseAddress, sameAddress } from "@margay/net";
import { listAddresses, listLinks, type Netlink } from "@margay/netlink";

/** Ethernet's. */
const DEFAULT_MTU = 1500;

/** MTU in bytes for pods: that of the interface that bears the node's own address; 1500 while that is not known. */
export async function podMtu(netlink: Netlink, node: Node | undefined): Promise<number> {
  const text = node?.spec.bgp?.ipv4Address ?? node?.spec.bgp?.ipv6Address;
  if (text === undefined) return DEFAULT_MTU;
  const own = parseAddress(text.split("/")[0] ?? "");
  const found = (await listAddresses(netlink)).find(({ address }) => sameAddress(address, own));
  const link = (await listLinks(netlink)).find(({ index }) => index === found?.index);
  return link?.mtu ?? DEFAULT_MTU;
}
