import { createSocket, type Socket } from "node:dgram";
import { setTimeout as delay } from "node:timers/promises";
import { parseAddress } from "@margay/net";
import { socketIn } from "@margay/netlink";

const PORT = 7000;
/** Packets in one trial, one a millisecond. */
const PACKETS = 400;
/** So many in a row unanswered, and the refusal is no lost packet. */
const REFUSED = 25;

/** Sends numbered datagrams, each from a port of its own, and notes which arrive. */
export class Probe {
  readonly #from: string;
  readonly #target: string;
  readonly #receiver: Socket;
  #arrived = new Set<number>();
  #next = 0;

  private constructor(receiver: Socket, { from, target }: { from: string; target: string }) {
    [this.#receiver, this.#from, this.#target] = [receiver, from, target];
    receiver.on("message", (message) => this.#arrived.add(message.readUInt32BE()));
  }

  static async open(pods: { from: string; to: string; target: string }): Promise<Probe> {
    const bind = { address: parseAddress("0.0.0.0"), port: PORT };
    const fd = socketIn(pods.to, { family: 4, type: "datagram", options: { bind } });
    return new Probe(await bound(fd), pods);
  }

  close(): void {
    this.#receiver.close();
  }

  /** Resolves when a packet has come through; Error after 10 s. */
  async untilAnswered(): Promise<void> {
    const end = performance.now() + 10_000;
    for (;;) {
      const [socket] = await this.#sockets(1);
      const number = this.#send(socket!); // one was asked for
      await delay(10);
      socket?.close();
      if (this.#arrived.has(number)) return;
      if (performance.now() > end) throw new Error("no packet comes through, with no policy written");
    }
  }

  /** Does the act and sends one packet a millisecond. @returns ms from the act to the first packet of the refused ones */
  async refusedAfter(act: () => Promise<unknown>): Promise<number> {
    const sockets = await this.#sockets(PACKETS);
    const sent: { number: number; at: number }[] = [];
    this.#arrived.clear();
    const started = performance.now();
    const acting = act();
    for (const socket of sockets) {
      sent.push({ number: this.#send(socket), at: performance.now() });
      await delay(1);
      const recent = sent.slice(-REFUSED - 2, -2); // the last two may still be on their way
      if (recent.length === REFUSED && recent.every(({ number }) => !this.#arrived.has(number))) break;
    }
    await acting;
    for (const socket of sockets) socket.close();
    const last = sent.findLastIndex(({ number }) => this.#arrived.has(number));
    const refused = sent[last + 1];
    if (refused === undefined || sent.length === PACKETS)
      throw new Error(`not enforced after ${PACKETS} packets`);
    return refused.at - started;
  }

  #send(socket: Socket): number {
    const number = this.#next++;
    const packet = Buffer.alloc(4);
    packet.writeUInt32BE(number);
    socket.send(packet, PORT, this.#target);
    return number;
  }

  #sockets(count: number): Promise<Socket[]> {
    return Promise.all(
      Array.from({ length: count }, () => bound(socketIn(this.#from, { family: 4, type: "datagram" }))),
    );
  }
}

function bound(fd: number): Promise<Socket> {
  const socket = createSocket("udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", reject).bind({ fd }, () => resolve(socket));
  });
}
