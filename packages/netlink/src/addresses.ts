import {
  delAddress,
  dumpAddresses,
  type InterfaceAddress,
  type ListedAddress,
  newAddress,
  readAddress,
} from "./address.ts";
import { request, requireLink } from "./links.ts";
import {
  delNeighbour,
  dumpNeighbours,
  type ListedNeighbour,
  type Neighbour,
  newNeighbour,
  readNeighbour,
} from "./neighbour.ts";
import type { Netlink } from "./netlink.ts";

/** Of one interface, or of all. NetlinkError ENODEV when there is no such interface. */
export async function listAddresses(nl: Netlink, dev?: string): Promise<ListedAddress[]> {
  const index = dev === undefined ? 0 : (await requireLink(nl, dev, `list addresses dev ${dev}`)).index;
  return nl.requests.dump(dumpAddresses(index), readAddress);
}

/** Adds, or changes the same address's properties. */
export async function addAddress(nl: Netlink, dev: string, address: InterfaceAddress): Promise<void> {
  const { index } = await requireLink(nl, dev, `add address dev ${dev}`);
  await request(nl, newAddress(address, dev, index));
}

/** NetlinkError EADDRNOTAVAIL when the interface has no such address. */
export async function deleteAddress(nl: Netlink, dev: string, address: InterfaceAddress): Promise<void> {
  const { index } = await requireLink(nl, dev, `delete address dev ${dev}`);
  await request(nl, delAddress(address, dev, index));
}

/** ARP and NDP entries; the proxied addresses are a table of their own. */
export const listNeighbours = (nl: Netlink, { proxy = false } = {}): Promise<ListedNeighbour[]> =>
  nl.requests.dump(dumpNeighbours(proxy), readNeighbour);

/** Adds or replaces; permanent unless the neighbour says another state. */
export async function setNeighbour(nl: Netlink, dev: string, neighbour: Neighbour): Promise<void> {
  const { index } = await requireLink(nl, dev, `set neighbour dev ${dev}`);
  await request(nl, newNeighbour(neighbour, dev, index));
}

/** NetlinkError ENOENT when there is no such entry. */
export async function deleteNeighbour(nl: Netlink, dev: string, neighbour: Neighbour): Promise<void> {
  const { index } = await requireLink(nl, dev, `delete neighbour dev ${dev}`);
  await request(nl, delNeighbour(neighbour, dev, index));
}
