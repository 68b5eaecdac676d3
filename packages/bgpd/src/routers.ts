/**
 * Router discovery on the interfaces of unnumbered peers. We advertise ourselves (RFC 4861 §4.2) for the peer to find us, as
 * a router with lifetime 0: nobody's default. Its advertisements are read by the kernel, which marks the sender as a router
 * among its neighbours, also where it takes no default route from it.
 */
import { type Address, sameAddress } from "@margay/net";
import {
  allNodesSocket,
  closeSocket,
  type Link,
  type ListedNeighbour,
  listNeighbours,
  Netlink,
  NetlinkError,
  type Notification,
  sendDatagram,
} from "@margay/netlink";
import { isLinkLocal } from "./config.ts";
import type { Log } from "./log.ts";

/**
 * ICMPv6 type and code, checksum (the kernel's), hop limit 64, flags, router lifetime 0, reachable and retransmission time: not said; then
 * our link-layer address (§4.6.1), without which Linux does not remember us.
 */
export const advertisement = (mac: string): Uint8Array =>
  Uint8Array.of(
    ...[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[1, 1, ...mac.split(":").map((part) => Number.parseInt(part, 16))],
  );
/** Quicker than RFC 4861 §6.2.4 at first: a session waits for it. */
const [quickMs, quick, slowMs] = [1000, 5, 10_000];

export interface RoutersOptions {
  readonly log: Log;
  /** `found` has changed. */
  readonly onChanged: () => void;
}

export class Routers {
  /** The neighbour by interface. */
  readonly found = new Map<string, Address>();
  readonly #options: RoutersOptions;
  readonly #beacons = new Map<string, Beacon>();
  /** Interfaces whose neighbour does not answer any more: another may take its place. */
  readonly #lost = new Set<string>();
  #nl: Netlink | undefined;

  constructor(options: RoutersOptions) {
    this.#options = options;
  }

  /** On these interfaces, and no others. */
  watch(devices: ReadonlySet<string>): void {
    for (const device of [...this.#beacons.keys()]) if (!devices.has(device)) this.#forget(device);
    const fresh = [...devices].filter((device) => !this.#beacons.has(device));
    for (const device of fresh) this.#beacons.set(device, new Beacon(device, this.#options.log));
    if (fresh.length > 0) this.#read();
  }

  stop(): void {
    this.watch(new Set());
    this.#nl?.close();
  }

  #forget(device: string): void {
    this.#beacons.get(device)?.stop();
    this.#beacons.delete(device);
    this.found.delete(device);
  }

  /** All that the kernel knows; then it tells. */
  #read(): void {
    this.#nl ??= Netlink.open({
      groups: ["link", "neigh"],
      onNotification: (n) => this.#notified(n),
      onOverflow: () => this.#read(),
    });
    this.#list(this.#nl).catch((error: Error) =>
      this.#options.log.warn({ event: "router-discovery-failed", err: error }, error.message),
    );
  }

  async #list(nl: Netlink): Promise<void> {
    for (const link of await nl.links()) this.#beacons.get(link.name)?.start(link);
    for (const neighbour of await listNeighbours(nl)) this.#sighted(neighbour);
  }

  #notified(n: Notification): void {
    if (n.kind === "neighbour" && n.change === "deleted") this.#lose(n.neighbour);
    else if (n.kind === "neighbour") this.#sighted(n.neighbour);
    if (n.kind !== "link") return;
    if (n.change === "new") this.#beacons.get(n.link.name)?.start(n.link);
    else this.#beacons.get(n.link.name)?.stop();
  }

  /** A router that answers; it becomes the neighbour when there is none, or only a lost one. */
  #sighted(neighbour: ListedNeighbour): void {
    const { index, address, router = false, state } = neighbour;
    if (state === "failed") {
      this.#lose(neighbour);
      return;
    }
    const device = this.#nl?.nameOf(index);
    const beacon = device === undefined ? undefined : this.#beacons.get(device);
    if (device === undefined || !beacon || !router || !isLinkLocal(address)) return;
    const known = this.found.get(device);
    const isKnown = known !== undefined && sameAddress(known, address);
    if (known && !isKnown && !this.#lost.has(device)) return;
    this.#lost.delete(device);
    if (isKnown) return;
    this.found.set(device, address);
    beacon.hurry(); // it came just now, and may not have heard us
    this.#options.onChanged();
  }

  /** Its session's timers say when it is down; but another router, there already, may take its place. */
  #lose({ index, address }: ListedNeighbour): void {
    const device = this.#nl?.nameOf(index);
    const known = device === undefined ? undefined : this.found.get(device);
    if (device === undefined || !known || !sameAddress(known, address) || this.#lost.has(device)) return;
    this.#lost.add(device);
    this.#read();
  }
}

const noMac = "00:00:00:00:00:00";

/** Advertises us on one interface. */
class Beacon {
  readonly #device: string;
  readonly #log: Log;
  #link: Link | undefined;
  #fd: number | undefined;
  #sent = 0;
  #timer: NodeJS.Timeout | undefined;
  #fault: string | undefined;

  constructor(device: string, log: Log) {
    this.#device = device;
    this.#log = log;
  }

  /** The interface is there. */
  start(link: Link): void {
    const before = this.#link;
    if (before?.index === link.index && before.mac === link.mac) return;
    this.stop();
    this.#link = link;
    this.hurry();
  }

  hurry(): void {
    clearTimeout(this.#timer);
    this.#sent = 0;
    this.#send();
  }

  stop(): void {
    clearTimeout(this.#timer);
    if (this.#fd !== undefined) closeSocket(this.#fd);
    this.#fd = undefined;
    this.#link = undefined;
  }

  #send(): void {
    if (this.#link === undefined) return;
    try {
      this.#fd ??= allNodesSocket(this.#link.index);
      sendDatagram(this.#fd, advertisement(this.#link.mac ?? noMac));
      this.#sent++;
      this.#fault = undefined;
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      this.#say(error); // no link-local address yet, or the link is down
    }
    this.#timer = setTimeout(() => this.#send(), this.#sent < quick ? quickMs : slowMs);
  }

  #say(error: NetlinkError): void {
    if (this.#fault === error.code) return;
    this.#fault = error.code;
    this.#log.info(
      { event: "not-advertised", device: this.#device, err: error },
      `no router advertisement on ${this.#device}: ${error.message}`,
    );
  }
}
