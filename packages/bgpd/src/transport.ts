/** TCP for BGP: listening sockets, dialling, and what is ready to take more. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { type Address, formatAddress, parseAddress } from "@margay/net";

/** A peer whose socket holds this much unsent is given nothing more until it drains. */
const unsentLimitBytes = 256 * 1024;

/** One connection. Callbacks are set by who takes it over; none is called after `close`. */
export class Connection {
  readonly #socket: Socket;
  onBytes: (bytes: Uint8Array) => void = () => {};
  onClosed: (why: string) => void = () => {};
  /** Room again after `isReady` was false. */
  onDrain: () => void = () => {};
  #why = "the peer closed the connection";
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes) => this.#closed || this.onBytes(bytes));
    socket.on("drain", () => this.#closed || this.onDrain());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#why = words[error.code ?? ""] ?? error.message;
    });
    socket.on("close", () => {
      if (this.#closed) return;
      this.#closed = true;
      this.onClosed(this.#why);
    });
  }

  get isReady(): boolean {
    return !this.#closed && this.#socket.writableLength < unsentLimitBytes;
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  send(bytes: Uint8Array): void {
    if (!this.#closed) this.#socket.write(bytes);
  }

  /** Sends what is still unsent (a NOTIFICATION), then closes; after a second in any case. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.end();
    const late = setTimeout(() => this.#socket.destroy(), 1000);
    late.unref();
    this.#socket.resume().on("close", () => clearTimeout(late));
  }
}

/** Words for the ends that operators see most. */
const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by the peer",
  ETIMEDOUT: "no answer",
  EHOSTUNREACH: "host unreachable",
  ENETUNREACH: "network unreachable",
  EADDRNOTAVAIL: "our source address is not on this host",
  EPIPE: "the peer closed the connection",
};

export interface DialOptions {
  readonly address: Address;
  readonly port: number;
  readonly localAddress?: Address;
}

/** Dials; `onUp` once connected, `onDown` if that fails. `cancel` before either makes both silent. */
export function dial(
  { address, port, localAddress }: DialOptions,
  { onUp, onDown }: { onUp: (connection: Connection) => void; onDown: (why: string) => void },
): { cancel(): void } {
  const local = localAddress && { localAddress: formatAddress(localAddress) };
  const socket = connect({ host: formatAddress(address), port, ...local });
  let why = "connection failed";
  socket.on("error", (error: NodeJS.ErrnoException) => {
    why = words[error.code ?? ""] ?? error.message;
  });
  const failed = () => onDown(why);
  socket.once("close", failed);
  socket.once("connect", () => {
    socket.off("close", failed);
    onUp(new Connection(socket));
  });
  return {
    cancel: () => {
      socket.removeAllListeners("connect").off("close", failed);
      socket.destroy();
    },
  };
}

export interface ListenOptions {
  /** Undefined: every address of both families. */
  readonly addresses?: readonly Address[];
  readonly port: number;
}

/** Listens; resolves when all sockets do. A host without IPv6 listens on IPv4 alone. Rejects with the system's error. */
export async function listen(
  { addresses, port }: ListenOptions,
  onConnection: (connection: Connection, from: Address) => void,
): Promise<{ close(): void }> {
  const servers: Server[] = [];
  const close = () => {
    for (const server of servers) server.close();
  };
  try {
    for (const host of addresses?.map(formatAddress) ?? ["0.0.0.0", "::"]) {
      const server = await listenOn(host, port, (socket) => {
        const from = socket.remoteAddress?.replace(/%.*$/, "");
        if (from) onConnection(new Connection(socket), parseAddress(from));
        else socket.destroy(); // gone before we looked
      });
      if (server) servers.push(server);
    }
  } catch (error) {
    close();
    throw error;
  }
  return { close };
}

async function listenOn(
  host: string,
  port: number,
  onSocket: (s: Socket) => void,
): Promise<Server | undefined> {
  const server = createServer(onSocket);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen({ host, port, ipv6Only: host.includes(":") }, resolve);
  try {
    await promise;
    return server;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // listen fails with system errors only
    if (host === "::" && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) return undefined;
    throw error;
  }
}
