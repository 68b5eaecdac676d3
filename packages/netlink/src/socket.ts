import { check, errnoName, NetlinkError } from "./error.ts";
import {
  attributes,
  control,
  Encoder,
  flags,
  type Message,
  messages,
  type Request,
  text,
} from "./message.ts";
import { inNamespace } from "./namespace.ts";
import { native } from "./native.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_NETLINK = 270;
const SOL_SOCKET = 1;
const option = { capAck: 10, extendedAck: 11, strictCheck: 12 } as const;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;

/** NLMSGERR_ATTR_MSG. */
const ATTR_MESSAGE = 1;
const EAGAIN = 11;
const EINTR = 4;

/** Refusals are queued on the socket until we read: as many as surely fit its receive buffer. */
const batchLimit = 128;
const batchBytes = 16_384;
/** Below this a datagram fits the default send buffer. */
const transactionBuffer = 100_000;
/** Datagrams read before other work of this process gets its turn. */
const chunksPerTurn = 16;
const dumpAttempts = 10;

/** What is under way on any socket of this thread: a batch is sent in one stretch, a datagram read and decoded in another. */
const outgoing = new Encoder(batchBytes + 1024);
const incoming = new Uint8Array(65_536);

/** How a socket waits for the kernel, which answers while `send` runs. */
export interface SocketManner {
  /** On another thread: for requests that keep the kernel busy for long, a veth's end or a reading of all connections. */
  readonly inBackground?: boolean;
}

/** One request of a batch that the kernel refused. */
export interface Failure {
  readonly index: number;
  readonly error: NetlinkError;
}

/** Opens a netlink socket of `protocol`, in a namespace if given; strict checking and extended acks on. */
export function openSocket(protocol: number, namespace?: string): number {
  const open = () => check(native().socket(AF_NETLINK, SOCK_RAW, protocol), "open a netlink socket");
  const fd = namespace === undefined ? open() : inNamespace(namespace, open);
  for (const name of Object.values(option)) native().setsockopt(fd, SOL_NETLINK, name, int(1)); // absent on old kernels: fine
  return fd;
}

/** Asks for a receive buffer of `bytes`, past the administrator's limit where we may. */
export function receiveBuffer(fd: number, bytes: number): void {
  if (native().setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, int(bytes)) < 0)
    native().setsockopt(fd, SOL_SOCKET, SO_RCVBUF, int(bytes));
}

/** Asks for room for one datagram of `bytes`; what is longer is refused as EMSGSIZE. */
function sendBuffer(fd: number, bytes: number): void {
  if (native().setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, int(bytes)) < 0)
    native().setsockopt(fd, SOL_SOCKET, SO_SNDBUF, int(bytes));
}

/** A C int. */
export const int = (n: number): Uint8Array => new Uint8Array(new Int32Array([n]).buffer);

/**
 * Requests and their answers on one socket. The kernel works while `send` runs and has queued every ack when
 * it returns, so an exchange never waits; `exclusive` keeps dumps, which yield between chunks, apart.
 */
export class RequestSocket {
  readonly #fd: number;
  #sequence = 0;
  #sendBytes = 0;
  #port = 0;
  #tail: Promise<unknown> = Promise.resolve();

  readonly #inBackground: boolean;

  constructor(protocol: number, namespace?: string, { inBackground = false }: SocketManner = {}) {
    this.#inBackground = inBackground;
    this.#fd = openSocket(protocol, namespace);
    receiveBuffer(this.#fd, 1 << 20);
  }

  /** Our port, as notifications name the cause; 0 before the first answer. */
  get port(): number {
    return this.#port;
  }

  /** In the background once what is under way has ended: till then the descriptor's number must not become another's. */
  close(): void {
    if (this.#inBackground) void this.#exclusive(async () => native().close(this.#fd));
    else native().close(this.#fd);
  }

  /**
   * Sends all requests in few system calls and answers the refusals, in order: one refused request does not stop
   * the next. `onReply` sees what the kernel answers to gets. Throws only when the socket itself fails.
   */
  transact(requests: readonly Request[], onReply?: (message: Message) => void): Promise<Failure[]> {
    return this.#exclusive(async () => {
      const failures: Failure[] = [];
      for (let start = 0; start < requests.length; ) {
        const end = await this.#sendBatch(requests, start);
        this.#receiveBatch(requests, { start, end, failures, onReply });
        start = end;
        if (start < requests.length) await turn();
      }
      return failures;
    });
  }

  /** Sends from `start` what fits one batch and answers where the next begins. Only the last asks for an ack. */
  async #sendBatch(requests: readonly Request[], start: number): Promise<number> {
    const out = outgoing.clear();
    const limit = Math.min(requests.length, start + batchLimit);
    let [end, last] = [start, 0];
    while (end < limit && out.length < batchBytes) {
      const request = requests[end++];
      if (request) last = out.message(request, ++this.#sequence);
    }
    const sent = this.#send(out.addFlags(last, flags.ack).view());
    check(typeof sent === "number" ? sent : await sent, () => requests[start]?.words() ?? "send");
    return end;
  }

  #send(bytes: Uint8Array): number | Promise<number> {
    return this.#inBackground ? native().sendLater(this.#fd, bytes) : native().send(this.#fd, bytes);
  }

  #receiveBatch(requests: readonly Request[], batch: Batch): void {
    const { start, end, failures, onReply } = batch;
    const base = this.#sequence - (end - start) + 1;
    for (;;) {
      for (const message of this.#receive(() => requests[start]?.words() ?? "receive")) {
        const index = start + message.sequence - base;
        if (index < start || index >= end) continue; // late answer to a batch that failed
        this.#port = message.port;
        if (message.type !== control.error) onReply?.(message);
        else {
          const error = refusal(message, () => requests[index]?.words() ?? "request");
          if (error) failures.push({ index, error });
          if (index === end - 1) return;
        }
      }
    }
  }

  /**
   * Sends all requests as one datagram: a transaction, where the kernel takes it for one (nfnetlink, between its BEGIN and
   * END). `onReply` sees what the kernel answers to those that ask for it (NLM_F_ECHO). Throws the first refusal; EMSGSIZE when
   * it is longer than the send buffer could be made.
   */
  transaction(
    requests: readonly Request[],
    onReply?: (message: Message, to: Request) => void,
  ): Promise<void> {
    return this.#exclusive(async () => {
      const out = new Encoder(batchBytes);
      const base = this.#sequence + 1;
      for (const request of requests) out.message(request, ++this.#sequence);
      const words = (index = 0) => requests[index]?.words() ?? "transaction";
      if (out.length > transactionBuffer) this.#growSendBuffer(out.length);
      check(native().send(this.#fd, out.view()), words);
      for (const message of this.#queued(words)) {
        this.#port = message.port;
        const to = requests[message.sequence - base];
        if (message.type !== control.error && to) onReply?.(message, to);
        const error =
          message.type === control.error && refusal(message, () => words(message.sequence - base));
        if (error) throw error;
      }
    });
  }

  #growSendBuffer(bytes: number): void {
    if (bytes <= this.#sendBytes) return;
    this.#sendBytes = 2 * bytes;
    sendBuffer(this.#fd, this.#sendBytes);
  }

  /** All that is queued, copied: the kernel has answered when `send` returns. */
  #queued(words: () => string): readonly Message[] {
    const found: Message[] = [];
    for (;;) {
      const length = native().recv(this.#fd, incoming);
      if (length === -EAGAIN) return found;
      if (length === -EINTR) continue;
      check(length, words);
      found.push(...messages(new DataView(incoming.slice(0, Math.min(length, incoming.length)).buffer)));
    }
  }

  /** All answers to a dump, each through `decode` while its bytes are there (undefined is left out). */
  dump<T>(request: Request, decode: (message: Message) => T | undefined): Promise<T[]> {
    return this.#exclusive(async () => {
      for (let attempt = 0; attempt < dumpAttempts; attempt++) {
        const result = await this.#dumpOnce(request, decode);
        if (result) return result;
      }
      throw new NetlinkError("EINTR", request.words(), `changed under each of ${dumpAttempts} readings`);
    });
  }

  /** Undefined when the kernel says that the table changed meanwhile (NLM_F_DUMP_INTR). */
  async #dumpOnce<T>(request: Request, decode: (m: Message) => T | undefined): Promise<T[] | undefined> {
    const sequence = ++this.#sequence;
    const out = outgoing.clear();
    const at = out.message(request, sequence);
    const sent = this.#send(out.addFlags(at, flags.dump).view());
    check(typeof sent === "number" ? sent : await sent, request.words);
    const found: T[] = [];
    let interrupted = false;
    for (let chunk = 1; ; chunk++) {
      for (const message of this.#receive(request.words)) {
        if (message.sequence !== sequence) continue;
        this.#port = message.port;
        interrupted ||= (message.flags & flags.dumpInterrupted) !== 0;
        if (message.type === control.done || message.type === control.error) {
          const error = refusal(message, request.words);
          if (error) throw error;
          return interrupted ? undefined : found;
        }
        const value = decode(message);
        if (value !== undefined) found.push(value);
      }
      if (chunk % chunksPerTurn === 0) await turn();
    }
  }

  #receive(words: () => string): Generator<Message> {
    let length = native().recv(this.#fd, incoming);
    while (length === -EINTR) length = native().recv(this.#fd, incoming);
    if (length === -EAGAIN) throw new NetlinkError("EAGAIN", words(), "the kernel did not answer");
    check(length, words);
    if (length > incoming.length) throw new NetlinkError("EMSGSIZE", words(), `answer of ${length} bytes`);
    return messages(new DataView(incoming.buffer, 0, length));
  }

  #exclusive<T>(fn: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(fn);
    this.#tail = result.catch(() => undefined); // the caller has it; the next one only waits
    return result;
  }
}

interface Batch {
  readonly start: number;
  readonly end: number;
  readonly failures: Failure[];
  readonly onReply: ((message: Message) => void) | undefined;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * nlmsgerr: -errno i32, then the request's header (capped) and, if flagged, attributes of the extended ack.
 * NLMSG_DONE has the errno alone. Undefined when it is the ack of a success.
 */
function refusal(message: Message, words: () => string): NetlinkError | undefined {
  if (message.body.byteLength < 4) return undefined;
  const errno = -message.body.getInt32(0, true);
  if (errno === 0) return undefined;
  const found =
    (message.flags & flags.extended) !== 0 ? attributes(message.body, extendedAt(message)) : undefined;
  const detail = found?.get(ATTR_MESSAGE);
  return new NetlinkError(errnoName(errno), words(), detail && text(detail));
}

function extendedAt(message: Message): number {
  if (message.type === control.done) return 4;
  const echoed = (message.flags & flags.capped) !== 0 ? 16 : message.body.getUint32(4, true);
  return 4 + ((echoed + 3) & ~3);
}
