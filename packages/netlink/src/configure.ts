import { type InterfaceAddress, newAddress } from "./address.ts";
import { changeLink, type Link, type LinkChange, withoutOwnAddress } from "./link.ts";
import { flags } from "./message.ts";
import { type Neighbour, newNeighbour } from "./neighbour.ts";
import type { Netlink } from "./netlink.ts";
import type { Route } from "./route.ts";
import { newRoute } from "./route-message.ts";

/** What one interface is to get, in this order. */
export interface Furnishing {
  /** The kernel gives it no IPv6 address of its own accord. */
  readonly isWithoutOwnAddress?: boolean;
  readonly link?: Omit<LinkChange, "master">;
  /** Added, or changed. */
  readonly addresses?: readonly InterfaceAddress[];
  /** Added, or replaced. */
  readonly neighbours?: readonly Neighbour[];
  /** By this interface only; none may be there yet. */
  readonly routes?: readonly Route[];
}

/** In one exchange with the kernel, whatever of it is refused; throws the first refusal, a NetlinkError. */
export async function configureLink(
  nl: Netlink,
  link: Link,
  { isWithoutOwnAddress, link: change, addresses = [], neighbours = [], routes = [] }: Furnishing,
): Promise<void> {
  const { index, name } = link;
  const names = { index: (dev: string) => (dev === name ? index : undefined), name: () => undefined };
  const [refused] = await nl.requests.transact([
    ...(isWithoutOwnAddress ? [withoutOwnAddress(link)] : []),
    ...changesOf(change).map((one) => changeLink(link, one)),
    ...addresses.map((one) => newAddress(one, name, index)),
    ...neighbours.map((one) => newNeighbour(one, name, index)),
    ...routes.map((one) => newRoute(one, names, flags.create | flags.exclusive)),
  ]);
  if (refused) throw refused.error;
}

/** It comes up last, and by a request of its own: a change of a link that is up is news for all routes of IPv6. */
function changesOf(change: Furnishing["link"]): readonly LinkChange[] {
  const { up, ...others } = change ?? {};
  return [...(Object.keys(others).length > 0 ? [others] : []), ...(up === undefined ? [] : [{ up }])];
}
