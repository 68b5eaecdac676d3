/** A peer that is only a socket: says and reads what a test wants it to, or nothing. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import {
  type Attributes,
  countPrefixes,
  Framer,
  frame,
  messageTypes,
  packPrefixes,
  readUpdate,
  writeAnnouncements,
  writeMessage,
} from "@margay/bgp";
import { formatAddress, type Prefix, parseAddress } from "@margay/net";
import { address, port } from "./speakers.ts";

const { open, keepalive, update } = messageTypes;
const context = { as4: true, internal: true, families: [4] as const };

export class RawPeer {
  readonly #socket: Socket;
  readonly #framer = new Framer();
  readonly #up = Promise.withResolvers<void>();
  /** Prefixes announced to it, each as often as it was, and withdrawn. */
  announced = 0;
  withdrawn = 0;
  readonly closed: Promise<unknown>;

  private constructor(socket: Socket, bgpId: number, holdTimeSeconds: number) {
    this.#socket = socket;
    this.closed = once(socket, "close");
    socket.on("data", (bytes) => this.#hear(bytes)).on("error", () => {}); // `closed` says it
    const capabilities = { families: [4] as const, as4: 64512 };
    this.#send(writeMessage({ kind: "open", as: 64512, holdTimeSeconds, bgpId, capabilities }));
  }

  /** From 10.0.0.`n` to 10.0.0.`to`; resolves when the session is up. */
  static async open(n: number, to: number, holdTimeSeconds = 9): Promise<RawPeer> {
    const [host, localAddress] = [to, n].map((i) => formatAddress(address(i)));
    const socket = connect({ port, host: host!, localAddress: localAddress! }); // two in, two out
    await once(socket, "connect");
    const peer = new RawPeer(socket, n, holdTimeSeconds);
    await peer.#up.promise;
    return peer;
  }

  /** Reads nothing any more. */
  pause(): void {
    this.#socket.pause();
  }

  announce(prefixes: readonly Prefix[], med: number): void {
    const attributes: Attributes = {
      ...{ origin: "igp", asPath: [], localPref: 100, med },
      nextHop: { address: parseAddress("10.0.0.99") },
    };
    for (const body of writeAnnouncements({ nlri: packPrefixes(4, prefixes), attributes }, context))
      this.#send(frame("update", body));
  }

  stop(): void {
    this.#socket.destroy();
  }

  #send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  #hear(bytes: Uint8Array): void {
    for (const { type, body } of this.#framer.push(bytes)) {
      // Whoever hears one answers with one: alive as often as the other side.
      if (type === open.code || type === keepalive.code) this.#send(writeMessage({ kind: "keepalive" }));
      if (type === keepalive.code) this.#up.resolve();
      if (type === update.code) this.#count(body);
    }
  }

  #count(body: Uint8Array): void {
    const { announced, withdrawn } = readUpdate(body, context);
    for (const { nlri } of announced) this.announced += countPrefixes(nlri);
    for (const nlri of withdrawn) this.withdrawn += countPrefixes(nlri);
  }
}
