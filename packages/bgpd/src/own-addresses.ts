/** Addresses of ours on `lo`, marked as routes are: made to be those that are wanted, whoever changes them. */
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Address, formatAddress, width } from "@margay/net";
import {
  addAddress,
  deleteAddress,
  type InterfaceAddress,
  listAddresses,
  Netlink,
  NetlinkError,
} from "@margay/netlink";
import { Loop, reconcile, type Target, Tracked } from "@margay/reconcile";
import { bgpProtocol } from "./kernel-routes.ts";
import type { Log } from "./log.ts";

const device = "lo";

export class OwnAddresses {
  readonly #nl: Netlink;
  readonly #loop: Loop;
  #wanted: ReadonlyMap<string, Address> | undefined;

  constructor(log: Log) {
    this.#nl = Netlink.open({
      groups: ["addr4", "addr6"],
      onNotification: (n) => this.#notified(n.kind === "address" && !n.own ? n.address.address : undefined),
      onOverflow: () => this.#loop.trigger(),
    });
    const tracked = new Tracked(addressTarget(this.#nl));
    this.#loop = new Loop({
      pass: async () => {
        tracked.distrust(); // few addresses, and a pass is rare
        await reconcile([tracked.to(this.#wanted ?? new Map())]);
      },
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}), // aborted: the loop stops
      onError: (error, retryInMs) =>
        log.warn({ event: "addresses-failed", err: error, retryInMs }, "addresses could not be set"),
    });
  }

  /** By text. */
  set(wanted: ReadonlyMap<string, Address>): void {
    if (this.#wanted && [...wanted.keys()].join() === [...this.#wanted.keys()].join()) return;
    this.#wanted = wanted;
    this.#loop.trigger();
  }

  /** Leaves the addresses: sessions are resumed on them. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    this.#nl.close();
  }

  #notified(address: Address | undefined): void {
    if (address && this.#wanted?.has(formatAddress(address))) this.#loop.trigger();
  }
}

const addressTarget = (nl: Netlink): Target<Address> => ({
  name: "addresses",
  list: async () => {
    const all = await listAddresses(nl, device);
    const ours = all.filter(({ protocol }) => protocol === bgpProtocol);
    return new Map(ours.map(({ address }) => [formatAddress(address), address]));
  },
  put: async (wanted) => {
    const there = new Set((await listAddresses(nl, device)).map(({ address }) => formatAddress(address)));
    for (const [key, address] of wanted) if (!there.has(key)) await addAddress(nl, device, ours(address)); // somebody's own is not to become ours
  },
  remove: async (keys) => {
    for (const { address, protocol } of await listAddresses(nl, device))
      if (protocol === bgpProtocol && keys.includes(formatAddress(address)))
        await unlessGone(deleteAddress(nl, device, ours(address)));
  },
  same: () => true,
});

/** Of scope link: nothing is sent from it but what asks for it. */
const ours = (address: Address): InterfaceAddress => ({
  ...{ address, length: width(address.family), nodad: true, protocol: bgpProtocol },
  ...(address.family === 4 ? { scope: "link" } : {}),
});

async function unlessGone(removal: Promise<void>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (!(error instanceof NetlinkError && error.code === "EADDRNOTAVAIL")) throw error;
  }
}
