/** TCP for BGP: listening sockets, dialling, and what is ready to take more. */
import { connect, createServer, type Server, Socket } from "node:net";
import { type Address, type Family, formatAddress, parseAddress } from "@margay/net";
import { bindAccepted, NetlinkError, sendNow, setHops, socketIn, tcpMd5 } from "@margay/netlink";

/** A peer whose socket holds this much unsent is given nothing more until it drains. */
const unsentLimitBytes = 256 * 1024;

/** What protects a session below BGP. */
export interface Guard {
  /** TCP-MD5 (RFC 2385). */
  readonly password?: string;
  /** The peer is at most so many hops away; what comes from farther is dropped in the kernel (GTSM, RFC 5082). */
  readonly ttlSecurityHops?: number;
  /** Only over this interface. */
  readonly device?: string;
}

const hopsOf = ({ ttlSecurityHops: hops }: Guard) =>
  hops === undefined ? {} : { ttl: 255, minTtl: 256 - hops };

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
    // Plain bytes: every view of a Buffer is a Buffer, which is slow to make.
    socket.on("data", ({ buffer, byteOffset, byteLength }: Buffer) => {
      if (!this.#closed) this.onBytes(new Uint8Array(buffer, byteOffset, byteLength));
    });
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

  /** Our address of it, without a zone. */
  get localAddress(): Address | undefined {
    const text = this.#socket.localAddress?.replace(/%.*$/, "");
    return text === undefined ? undefined : parseAddress(text);
  }

  /** The interface that a link-local peer is on. */
  get zone(): string | undefined {
    return this.#socket.remoteAddress?.split("%")[1];
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Whether a connection that the peer opened came by this interface, where it stays from now on. NetlinkError where the kernel does not tell. */
  isFrom(device: string): boolean {
    const fd = this.#fd;
    if (fd === undefined || !this.localAddress) return false;
    try {
      return bindAccepted(fd, this.localAddress.family, device);
    } catch (error) {
      if (error instanceof NetlinkError && error.code === "ENODEV") return false; // the interface is gone
      throw error;
    }
  }

  /** What a connection that the peer opened lacks; its password it has from the listening socket. */
  guard(family: Family, guard: Guard): void {
    const fd = this.#fd;
    if (fd !== undefined) setHops(fd, family, hopsOf(guard));
  }

  /** Another password from now on; the session stays when the peer changes too before the hold time is over. */
  rekey(peer: Address, password: string | undefined): void {
    const fd = this.#fd;
    if (fd !== undefined) setKey(fd, peer, password);
  }

  /** Node has no other way to a socket's descriptor. */
  get #fd(): number | undefined {
    return (this.#socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
  }

  /** Past node's stream as long as the kernel takes all: what a write costs there is most of what a change costs that many peers hear (ADR 16). */
  send(bytes: Uint8Array): void {
    if (this.#closed) return;
    const fd = this.#socket.writableLength === 0 ? this.#fd : undefined;
    const sent = fd === undefined || fd < 0 ? 0 : sendNow(fd, bytes);
    if (sent < bytes.length) this.#socket.write(bytes.subarray(sent));
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
  /** That address may be put on this host only now. */
  readonly isSoon?: boolean;
  readonly guard?: Guard;
}

/** Dials; `onUp` once connected, `onDown` if that fails. `cancel` before either makes both silent. */
export function dial(
  options: DialOptions,
  { onUp, onDown }: { onUp: (connection: Connection) => void; onDown: (why: string) => void },
): { cancel(): void } {
  const socket = open(options);
  if (!(socket instanceof Socket)) {
    const refused = setImmediate(() => onDown(socket.why));
    return { cancel: () => clearImmediate(refused) };
  }
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

/** A plain socket, or one with options that must be there before the SYN. */
function open({
  address,
  port,
  localAddress,
  isSoon = false,
  guard = {},
}: DialOptions): Socket | { readonly why: string } {
  const host = formatAddress(address);
  const local = localAddress && { localAddress: formatAddress(localAddress) };
  if (!isSoon && Object.values(guard).every((value) => value === undefined))
    return connect({ host, port, ...local });
  const { password, device } = guard;
  try {
    const fd = socketIn(undefined, {
      family: address.family,
      type: "stream",
      options: {
        ...hopsOf(guard),
        ...(password === undefined ? {} : { md5: [{ peer: address, key: password }] }),
        ...(device === undefined ? {} : { bindToDevice: device }),
        ...(localAddress ? { freebind: isSoon, bind: { address: localAddress, port: 0 } } : {}),
      },
    });
    return new Socket({ fd }).connect({ host, port });
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    return { why: error.message };
  }
}

/** Sets a key or takes it away; one that was not there is gone already. */
function setKey(fd: number, peer: Address, password: string | undefined, length?: number): void {
  try {
    tcpMd5(fd, peer, password, length);
  } catch (error) {
    if (!(error instanceof NetlinkError && error.code === "ENOENT" && password === undefined)) throw error;
  }
}

/** Passwords of peers by address, or with `length` of all that come from a network. */
export type Passwords = ReadonlyMap<
  string,
  { readonly peer: Address; readonly length?: number; readonly password: string }
>;

export interface Listener {
  /** The kernel takes connections of these peers only with their password; others need none. */
  protect(passwords: Passwords): void;
  close(): void;
}

export interface ListenOptions {
  /** Undefined: every address of both families. */
  readonly addresses?: readonly Address[];
  /** Those of them that need not be on this host yet. */
  readonly soon?: readonly Address[];
  readonly port: number;
}

/** Listens; resolves when all sockets do. A host without IPv6 listens on IPv4 alone. Rejects with the system's error. */
export async function listen(
  { addresses, soon = [], port }: ListenOptions,
  onConnection: (connection: Connection, from: Address) => void,
): Promise<Listener> {
  const servers: { server: Server; family: Family; fd: number }[] = [];
  const close = () => {
    for (const { server } of servers) server.close();
  };
  const onSocket = (socket: Socket) => {
    const from = socket.remoteAddress?.replace(/%.*$/, "");
    if (from) onConnection(new Connection(socket), parseAddress(from));
    else socket.destroy(); // gone before we looked
  };
  try {
    for (const address of addresses ?? [anyAddress4, anyAddress6]) {
      const opened = await listenOn({ address, port }, soon.includes(address), onSocket);
      if (opened) servers.push(opened);
    }
  } catch (error) {
    close();
    throw error;
  }
  let known: Passwords = new Map();
  const protect = (wanted: Passwords) => {
    for (const [key, { peer, length }] of [...known, ...wanted])
      for (const { family, fd } of servers)
        if (family === peer.family && known.get(key)?.password !== wanted.get(key)?.password)
          setKey(fd, peer, wanted.get(key)?.password, length);
    known = wanted;
  };
  return { protect, close };
}

const anyAddress4 = parseAddress("0.0.0.0");
const anyAddress6 = parseAddress("::");

/** TTL 255: the answer to a SYN must pass the peer's GTSM too. */
async function listenOn(
  bind: { readonly address: Address; readonly port: number },
  freebind: boolean,
  onSocket: (s: Socket) => void,
) {
  const { address } = bind;
  const { family } = address;
  try {
    const fd = socketIn(undefined, {
      family,
      type: "stream",
      options: { ttl: 255, reuse: true, freebind, bind },
    });
    const server = createServer(onSocket);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen({ fd }, resolve);
    await promise;
    return { server, family, fd };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // NetlinkErrors and system errors alike
    if (address === anyAddress6 && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) return undefined;
    throw error;
  }
}
