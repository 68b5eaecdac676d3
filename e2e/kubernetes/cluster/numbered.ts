import { createSocket, type Socket } from "node:dgram";
import { namespacePath, type Party, TOR } from "@margay/lab";
import { type Family, parseAddress } from "@margay/net";
import { socketIn } from "@margay/netlink";

/** The port that numbered packets go to. */
export const NUMBERED_PORT = 7007;
const EVERY_MS = 10;
/** Packets of one flow: then another source port, for which nothing remembers that it was allowed. */
const FLOW = 10;
const ANY = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;
const kind = (family: Family) => (family === 4 ? "udp4" : "udp6");
const bareOf = (text: string): string => text.replace(/\/\d+$/, "");

/** The router above the nodes. */
export const tor: Party = {
  name: "tor",
  namespacePath: namespacePath(TOR.name),
  addresses: [bareOf(TOR.ipv4), bareOf(TOR.ipv6)],
};

/** Numbered UDP packets from one party to another, 100 each second; nobody repeats one that is lost. */
export class Numbered {
  readonly #receiver: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #open = new Set<Socket>();
  readonly #arrived = new Set<number>();
  #sent = 0;

  private constructor(receiver: Socket, send: (number: number) => void) {
    this.#receiver = receiver;
    receiver.on("message", (message) => this.#arrived.add(Number(message)));
    this.#timer = setInterval(() => send(this.#sent++), EVERY_MS).unref();
  }

  /** Resolves when the receiver listens: one for each receiving party and family at a time. */
  static async start(from: Party, to: Party, family: Family): Promise<Numbered> {
    const address = to.addresses.find((text) => text.includes(":") === (family === 6));
    if (!address) throw new Error(`${to.name} has no IPv${family} address`);
    const receiver = await bound(to, family, NUMBERED_PORT);
    let sender: Promise<Socket> | undefined;
    const numbered: Numbered = new Numbered(receiver, (number) => {
      if (number % FLOW === 0) sender = bound(from, family, 0).then((socket) => numbered.#keep(socket));
      void sender?.then((socket) => {
        const isLast = number % FLOW === FLOW - 1;
        const done = () => isLast && numbered.#open.delete(socket.close()); // a refusal is a loss, and counted
        socket.send(`${number}`, NUMBERED_PORT, address, done);
      });
    });
    return numbered;
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket);
    return socket;
  }

  /** Waits while what is under way arrives. @returns how many were sent, and which of them did not arrive */
  async stop(): Promise<{ sent: number; lost: number[] }> {
    clearInterval(this.#timer);
    for (let before = -1; this.#arrived.size < this.#sent && before < this.#arrived.size; ) {
      before = this.#arrived.size;
      await new Promise((resolve) => setTimeout(resolve, 500));
      await new Promise((resolve) => setImmediate(resolve)); // what lay in the socket meanwhile
    }
    for (const socket of [this.#receiver, ...this.#open]) socket.close();
    const all = Array.from({ length: this.#sent }, (_, number) => number);
    return { sent: this.#sent, lost: all.filter((number) => !this.#arrived.has(number)) };
  }
}

async function bound({ namespacePath: path }: Party, family: Family, port: number): Promise<Socket> {
  const fd = socketIn(path, { family, type: "datagram", options: { bind: { address: ANY[family], port } } });
  const socket = createSocket(kind(family));
  socket.on("error", () => {}); // what it means is seen in the numbers
  await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
  return socket.unref();
}
