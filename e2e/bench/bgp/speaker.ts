/** A simulated peer: opens a session, feeds what it has, counts what it hears. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Framer, messageTypes, readUpdate, writeMessage } from "@margay/bgp";
import { localAs, type Peer } from "./rows.ts";

const { open, keepalive, update, notification } = messageTypes;

/** All sockets read into it: what is heard is done with before the next one reads. */
const shared = new Uint8Array(256 * 1024);

/** Prefixes as they stand in an UPDATE, announced or withdrawn; the bytes are others once it returns. */
export type Heard = (nlri: Uint8Array, isGone: boolean) => void;

export class SimulatedPeer {
  readonly #peer: Peer;
  readonly #feed: Uint8Array;
  readonly #socket: Socket;
  readonly #framer = new Framer();
  readonly #holdSeconds: number;
  #left = 0;
  #isGone = false;
  readonly #up = Promise.withResolvers<void>();
  #done = Promise.withResolvers<void>();
  #beat: NodeJS.Timeout | undefined;
  #keepaliveAt = 0;
  #longestGapMs = 0;
  /** Told of each UPDATE, while set. */
  onHeard: Heard | undefined;

  private constructor(peer: Peer, socket: Socket, { feed, holdSeconds }: Manner) {
    this.#peer = peer;
    this.#feed = feed;
    this.#holdSeconds = holdSeconds;
    this.#socket = socket;
    this.#await(peer.wants?.count ?? 0);
  }

  /** Connects, again and again while nobody listens. */
  static async open(
    peer: Peer,
    to: { address: string; port: number },
    manner: Manner,
  ): Promise<SimulatedPeer> {
    for (;;) {
      const late: { one?: SimulatedPeer } = {};
      const callback = (length: number) => {
        if (late.one) late.one.#hear(shared.subarray(0, length));
        return true; // read on
      };
      const where = { host: to.address, port: to.port, localAddress: peer.address };
      const socket = connect({ ...where, noDelay: true, onread: { buffer: shared, callback } });
      try {
        await once(socket, "connect");
        late.one = new SimulatedPeer(peer, socket, manner);
        late.one.#begin();
        return late.one;
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

  /** Waits for so many withdrawn prefixes from now on. */
  withdrawn(count: number): Promise<void> {
    this.#isGone = true;
    this.#done = Promise.withResolvers<void>();
    this.#await(count);
    return this.done;
  }

  /** How late the daemon's latest KEEPALIVE was at most, in ms: they are due every third of the hold time. */
  get latenessMs(): number {
    const longest = Math.max(this.#longestGapMs, performance.now() - this.#keepaliveAt);
    return Math.max(0, longest - (this.#holdSeconds * 1000) / 3);
  }

  feed(bytes = this.#feed): void {
    if (bytes.length > 0) this.#socket.write(bytes);
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
    this.up.catch(() => {});
    this.#socket.on("error", fail).on("close", fail);
    this.#socket.write(
      writeMessage({
        ...{
          kind: "open",
          as,
          holdTimeSeconds: this.#holdSeconds,
          bgpId: ((a << 24) | (b << 16) | (c << 8) | d) >>> 0,
        },
        capabilities: { families: [4], as4: as, routeRefresh: true },
      }),
    );
    this.#beat = setInterval(
      () => this.#socket.write(writeMessage({ kind: "keepalive" })),
      (this.#holdSeconds * 1000) / 4,
    );
  }

  #hear(bytes: Uint8Array): void {
    for (const { type, body } of this.#framer.push(bytes)) {
      if (type === update.code) this.#count(body);
      else if (type === open.code) this.#socket.write(writeMessage({ kind: "keepalive" }));
      else if (type === keepalive.code) this.#heardKeepalive();
      else if (type === notification.code) this.#socket.destroy();
    }
  }

  #heardKeepalive(): void {
    const now = performance.now();
    if (this.#keepaliveAt > 0) this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#keepaliveAt);
    this.#keepaliveAt = now;
    this.#up.resolve();
  }

  /**
   * RFC 4271 §4.3, IPv4 only, nothing checked: with hundreds of peers in this one process, all that is done here for each
   * message is taken from the daemon's time.
   */
  #count(body: Uint8Array): void {
    const gone = (body[0]! << 8) | body[1]!; // the daemons send whole messages
    const attributes = (body[2 + gone]! << 8) | body[3 + gone]!;
    const first = 4 + gone + attributes;
    if (gone > 0) this.#hearAll(body.subarray(2, 2 + gone), true);
    if (first < body.length && this.#isWanted(body)) this.#hearAll(body.subarray(first), false);
    if (this.#left <= 0) this.#done.resolve();
  }

  /** Where only paths of some length count. */
  #isWanted(body: Uint8Array): boolean {
    const hops = this.#peer.wants?.hops;
    if (hops === undefined) return true;
    const context = { as4: true, internal: this.#peer.as === localAs, families: [4] as const };
    const { announced } = readUpdate(body, context);
    return announced.some(({ attributes }) => attributes.asPath[0]?.ases.length === hops);
  }

  #hearAll(nlri: Uint8Array, isGone: boolean): void {
    this.onHeard?.(nlri, isGone);
    let count = 0;
    for (let i = 0; i < nlri.length; count++) i += 1 + ((nlri[i]! + 7) >> 3); // in range
    if (isGone === this.#isGone) this.#left -= count;
  }

  #await(count: number): void {
    this.#left = count;
    this.done.catch(() => {}); // whoever waits is told all the same
    if (count <= 0) this.#done.resolve();
  }
}

/** How a peer behaves. */
export interface Manner {
  /** What it says when told to. */
  readonly feed: Uint8Array;
  readonly holdSeconds: number;
}
