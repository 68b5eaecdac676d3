/** A simulated peer: opens a session, feeds what it has, counts what it hears. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { countPrefixes, Framer, messageTypes, readUpdate, writeMessage } from "@margay/bgp";
import { Reader } from "@margay/net";
import { localAs, type Peer } from "./rows.ts";

const { open, keepalive, update, notification } = messageTypes;
const holdSeconds = 90;

export class SimulatedPeer {
  readonly #peer: Peer;
  readonly #feed: Uint8Array;
  readonly #socket: Socket;
  readonly #framer = new Framer();
  #left: number;
  readonly #up = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  #beat: NodeJS.Timeout | undefined;

  private constructor(peer: Peer, feed: Uint8Array, socket: Socket) {
    this.#peer = peer;
    this.#feed = feed;
    this.#socket = socket;
    this.#left = peer.wants?.count ?? 0;
    if (this.#left === 0) this.#done.resolve();
  }

  /** Connects, again and again while nobody listens. */
  static async open(
    peer: Peer,
    feed: Uint8Array,
    to: { address: string; port: number },
  ): Promise<SimulatedPeer> {
    for (;;) {
      const socket = connect({ host: to.address, port: to.port, localAddress: peer.address, noDelay: true });
      try {
        await once(socket, "connect");
        const one = new SimulatedPeer(peer, feed, socket);
        one.#begin();
        return one;
      } catch {
        await delay(50); // refused: it still starts
      }
    }
  }

  /** The session is Established. */
  get up(): Promise<void> {
    return this.#up.promise;
  }

  /** It has heard all that it wants. Rejects when the session ends before. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  feed(): void {
    if (this.#feed.length > 0) this.#socket.write(this.#feed);
  }

  /** Whole messages. */
  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  close(): void {
    clearInterval(this.#beat);
    this.#socket.destroy();
  }

  #begin(): void {
    const [a = 0, b = 0, c = 0, d = 0] = this.#peer.address.split(".").map(Number);
    const { as } = this.#peer;
    const fail = () => {
      const error = new Error(`the session of ${this.#peer.address} ended`);
      this.#up.reject(error);
      this.#done.reject(error);
    };
    this.done.catch(() => {}); // whoever waits is told all the same
    this.up.catch(() => {});
    this.#socket
      .on("data", (bytes) => this.#hear(bytes))
      .on("error", fail)
      .on("close", fail);
    this.#socket.write(
      writeMessage({
        ...{
          kind: "open",
          as,
          holdTimeSeconds: holdSeconds,
          bgpId: ((a << 24) | (b << 16) | (c << 8) | d) >>> 0,
        },
        capabilities: { families: [4], as4: as, routeRefresh: true },
      }),
    );
    this.#beat = setInterval(
      () => this.#socket.write(writeMessage({ kind: "keepalive" })),
      (holdSeconds * 1000) / 4,
    );
  }

  #hear(bytes: Uint8Array): void {
    for (const { type, body } of this.#framer.push(bytes)) {
      if (type === update.code) this.#count(body);
      else if (type === open.code) this.#socket.write(writeMessage({ kind: "keepalive" }));
      else if (type === keepalive.code) this.#up.resolve();
      else if (type === notification.code) this.#socket.destroy();
    }
  }

  #count(body: Uint8Array): void {
    const hops = this.#peer.wants?.hops;
    const context = { as4: true, internal: this.#peer.as === localAs, families: [4] as const };
    for (const { nlri, attributes } of readUpdate(new Reader(body), context).announced) {
      if (hops !== undefined && attributes.asPath[0]?.ases.length !== hops) continue;
      this.#left -= countPrefixes(nlri);
    }
    if (this.#left <= 0) this.#done.resolve();
  }
}
