import { type ListedAddress, RTM_DELADDR, RTM_NEWADDR, readAddress } from "./address.ts";
import type { NetlinkError } from "./error.ts";
import { EventSocket } from "./events.ts";
import { type ListedForwarding, readForwarding } from "./forwarding.ts";
import { dumpLinks, getLink, type Link, RTM_DELLINK, RTM_NEWLINK, readLink } from "./link.ts";
import type { Message } from "./message.ts";
import { type ListedNeighbour, RTM_DELNEIGH, RTM_NEWNEIGH, readNeighbour } from "./neighbour.ts";
import { type NexthopObject, RTM_DELNEXTHOP, RTM_NEWNEXTHOP, readNexthop } from "./nexthop-message.ts";
import type { Route } from "./route.ts";
import { type Names, RTM_DELROUTE, RTM_NEWROUTE, readRoute } from "./route-message.ts";
import { RequestSocket, type SocketManner } from "./socket.ts";

const NETLINK_ROUTE = 0;
/** RTNLGRP_* as the bits of sockaddr_nl. */
const groups = {
  link: 1 << 0,
  neigh: 1 << 2,
  addr4: 1 << 4,
  route4: 1 << 6,
  addr6: 1 << 8,
  route6: 1 << 10,
  nexthop: 2 ** 31,
} as const;

/** What the kernel said has changed. `own`: a request through this very Netlink caused it. */
export type Notification = { readonly change: "new" | "deleted"; readonly own: boolean } & (
  | { readonly kind: "link"; readonly link: Link }
  | { readonly kind: "route"; readonly route: Route }
  | { readonly kind: "address"; readonly address: ListedAddress }
  | { readonly kind: "neighbour"; readonly neighbour: ListedNeighbour }
  | { readonly kind: "nexthop"; readonly object: NexthopObject }
  | { readonly kind: "forwarding"; readonly forwarding: ListedForwarding }
);

export interface NetlinkOptions extends SocketManner {
  /** Path of a network namespace; this thread's own when absent. */
  readonly namespace?: string;
  readonly groups?: readonly (keyof typeof groups)[];
  readonly onNotification?: (notification: Notification) => void;
  /** Some notifications were lost: read again whatever depends on them. */
  readonly onOverflow?: () => void;
  /** The notification socket broke and is closed; requests still work. Thrown when absent. */
  readonly onError?: (error: NetlinkError) => void;
}

/**
 * rtnetlink in one network namespace. The functions of this package (`listRoutes`, `createVeth`, ...) take it
 * first. An open one with groups keeps the process alive until `close`.
 */
export class Netlink {
  readonly requests: RequestSocket;
  readonly #events: EventSocket | undefined;
  /** Interface names as last listed or notified: for decoding, never for requests. */
  readonly #names = new Map<number, string>();

  private constructor(options: NetlinkOptions) {
    this.requests = new RequestSocket(NETLINK_ROUTE, options.namespace, options);
    if (options.groups?.length) this.#events = this.#subscribe(options);
  }

  /** NetlinkError ENOENT when there is no such namespace, EPERM when we may not enter it. */
  static open(options: NetlinkOptions = {}): Netlink {
    return new Netlink(options);
  }

  close(): void {
    this.#events?.close();
    this.requests.close();
  }

  /** From now on what our own requests change is not notified: for those that change 100,000 routes at once. */
  async ignoreOwn(): Promise<void> {
    if (this.requests.port === 0) await this.links();
    this.#events?.ignore(this.requests.port);
  }

  /** All links; refreshes what `names` knows. */
  async links(): Promise<Link[]> {
    const links = await this.requests.dump(dumpLinks(), readLink);
    this.#names.clear();
    for (const link of links) this.#names.set(link.index, link.name);
    return links;
  }

  /** The links of these names, in no order; a missing one is left out. */
  async linksNamed(names: readonly string[]): Promise<Link[]> {
    const found: Link[] = [];
    await this.requests.transact(names.map(getLink), (message) => {
      const link = readLink(message);
      if (link) found.push(link);
    });
    return found;
  }

  /** Names of indexes for decoding dumps, as of now. */
  async names(): Promise<Names> {
    await this.links();
    return this.#lookup;
  }

  /** An interface's name, as last listed or notified. */
  readonly nameOf = (index: number): string | undefined => this.#names.get(index);

  readonly #lookup: Names = {
    name: (index) => this.#names.get(index),
    index: (name) => [...this.#names].find(([, known]) => known === name)?.[0],
  };

  #subscribe({ namespace, groups: wanted = [], ...options }: NetlinkOptions): EventSocket {
    return new EventSocket({
      protocol: NETLINK_ROUTE,
      namespace,
      groups: wanted.reduce((bits, group) => bits | groups[group], 0),
      onMessage: (message) => {
        const notification = this.#read(message);
        if (notification) options.onNotification?.(notification);
      },
      onOverflow: options.onOverflow ?? (() => undefined),
      onError: options.onError ?? raise,
    });
  }

  #read(message: Message): Notification | undefined {
    const own = message.port !== 0 && message.port === this.requests.port;
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK: {
        const link = readLink(message);
        if (!link) return undefined;
        if (message.type === RTM_NEWLINK) this.#names.set(link.index, link.name);
        return { kind: "link", change: message.type === RTM_NEWLINK ? "new" : "deleted", own, link };
      }
      case RTM_NEWROUTE:
      case RTM_DELROUTE: {
        const route = readRoute(message, this.#lookup);
        return (
          route && { kind: "route", change: message.type === RTM_NEWROUTE ? "new" : "deleted", own, route }
        );
      }
      case RTM_NEWNEXTHOP:
      case RTM_DELNEXTHOP: {
        const object = readNexthop(message, this.#lookup);
        const change = message.type === RTM_NEWNEXTHOP ? "new" : "deleted";
        return object && { kind: "nexthop", change, own, object };
      }
      case RTM_NEWADDR:
      case RTM_DELADDR: {
        const address = readAddress(message);
        return (
          address && {
            kind: "address",
            change: message.type === RTM_NEWADDR ? "new" : "deleted",
            own,
            address,
          }
        );
      }
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH: {
        const change = message.type === RTM_NEWNEIGH ? "new" : "deleted";
        const forwarding = readForwarding(message);
        if (forwarding) return { kind: "forwarding", change, own, forwarding };
        const neighbour = readNeighbour(message);
        return neighbour && { kind: "neighbour", change, own, neighbour };
      }
      default:
        return undefined;
    }
  }
}

const raise = (error: NetlinkError): never => {
  throw error;
};
