import type { Node, WorkloadEndpoint } from "@margay/api";
import { followMtu } from "@margay/cni";
import type { Link, Netlink, Route } from "@margay/netlink";
import { uplink } from "./uplink.ts";

/** Ethernet's. */
const DEFAULT_MTU = 1500;

export interface PodMtuOptions {
  readonly netlink: Netlink;
  readonly self: () => Node | undefined;
  /** Bytes that a tunnel needs of the uplink's. */
  readonly overhead: () => number;
  /** Pods of this node. */
  readonly endpoints: () => readonly WorkloadEndpoint[];
  readonly onFollowed: (mtu: number, interfaces: number) => void;
  /** The uplink is known, or is another. */
  readonly onUplink: () => void;
  readonly onError: (error: unknown) => void;
}

/** The MTU of pods: the uplink's less what a tunnel adds, and running pods follow it. Bytes; 1500 while the uplink is not known. */
export class PodMtu {
  readonly #options: PodMtuOptions;
  #mtu = DEFAULT_MTU;
  #uplink: number | undefined;
  #following: Promise<void> = Promise.resolve();
  #isDue = false;

  constructor(options: PodMtuOptions) {
    this.#options = options;
  }

  get bytes(): number {
    return this.#mtu;
  }

  /** The node's address, or what has it, may be another. */
  learn(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#following = this.#following.then(() => this.#follow()).catch(this.#options.onError);
  }

  /** The kernel told of a link. */
  heed({ index, mtu }: Link): void {
    if (this.#uplink === undefined) this.learn();
    else if (index === this.#uplink && mtu - this.#options.overhead() !== this.#mtu) this.learn();
  }

  /** The kernel told of a route that is there now: it may be the way out that was missing. */
  heedRoute({ nexthops }: Route): void {
    if (this.#uplink === undefined && nexthops.some(({ via }) => via !== undefined)) this.learn();
  }

  async #follow(): Promise<void> {
    this.#isDue = false;
    const { netlink, self, overhead, endpoints, onFollowed, onUplink } = this.#options;
    const link = await uplink(netlink, self());
    const isAnother = link?.index !== this.#uplink;
    this.#uplink = link?.index;
    if (!link) return;
    if (isAnother) onUplink();
    const mtu = link.mtu - overhead();
    this.#mtu = mtu;
    const interfaces = await followMtu(netlink, { mtu, endpoints: endpoints() });
    if (interfaces > 0) onFollowed(mtu, interfaces);
  }
}
