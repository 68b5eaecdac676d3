import { errnoName, NetlinkError } from "./error.ts";
import { EventSocket } from "./events.ts";
import {
  attributes,
  bigEndian,
  bytesOf,
  control,
  type Encoder,
  flags,
  type Message,
  NETLINK_NETFILTER,
  type Request,
} from "./message.ts";

/** NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET, _VERDICT, _CONFIG, _VERDICT_BATCH. */
const PACKET = 0x300;
const VERDICT = 0x301;
const CONFIG = 0x302;
/** For all packets up to an id, as they are numbered. */
const VERDICTS = 0x303;
/** NFQA_CFG_*. */
const config = { command: 1, params: 2, longest: 3, mask: 4, flags: 5 } as const;
const BIND = 1;
const COPY_PACKET = 2;
/** What does not fit is let through, as if nobody listened (NFQA_CFG_F_FAIL_OPEN). */
const FAIL_OPEN = 1;
/** NFQA_PACKET_HDR, NFQA_PAYLOAD; of a verdict NFQA_VERDICT_HDR. */
const attribute = { header: 1, verdict: 2, payload: 10 } as const;
const ACCEPT = 1;

export interface PacketQueueOptions {
  readonly number: number;
  /** Packets that wait at a time; more are let through unseen. */
  readonly atMost: number;
  /** Of each packet so many bytes are shown, from its network header on. */
  readonly bytes: number;
  /** The bytes are good until it returns; the packet waits until `letGo` is called, once. */
  readonly onPacket: (packet: Uint8Array, letGo: () => void) => void;
  /** It is closed: packets that waited go on, and further ones are let through unseen. */
  readonly onError: (error: NetlinkError) => void;
}

/** Packets that rules send to a process (nfnetlink_queue), in this network namespace. */
export class PacketQueue {
  readonly #options: PacketQueueOptions;
  readonly #socket: EventSocket;
  #isOpen = true;
  #lastId = 0;

  /** Throws NetlinkError; that the kernel does not bind it (EPERM: another has it) is told by `onError`. */
  constructor(options: PacketQueueOptions) {
    this.#options = options;
    this.#socket = new EventSocket({
      ...{ protocol: NETLINK_NETFILTER, groups: 0 },
      onMessage: (message) => this.#heed(message),
      onOverflow: () => this.#fail(new NetlinkError("ENOBUFS", this.#words())),
      onError: (error) => this.#fail(error),
    });
    const requests = [
      this.#configure((e) => e.attribute(config.command, (c) => c.u8(BIND).u8(0).u16(0))),
      this.#configure((e) =>
        e.attributeBytes(config.params, Uint8Array.of(...bigEndian(options.bytes), COPY_PACKET)),
      ),
      this.#configure((e) =>
        e
          .attributeBytes(config.longest, bigEndian(options.atMost))
          .attributeBytes(config.mask, bigEndian(FAIL_OPEN))
          .attributeBytes(config.flags, bigEndian(FAIL_OPEN)),
      ),
    ];
    try {
      this.#socket.send(requests);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What waits goes on, unread packets too: the kernel would drop all of it. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.#send(VERDICTS, (this.#lastId + this.#options.atMost) >>> 0);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
    }
    this.#socket.close();
  }

  readonly #words = (): string => `listen to queue ${this.#options.number}`;

  #fail(error: NetlinkError): void {
    if (!this.#isOpen) return;
    this.close();
    this.#options.onError(error);
  }

  #configure(body: (e: Encoder) => void): Request {
    return {
      ...{ type: CONFIG, flags: flags.ack, words: this.#words },
      body: (e) => body(this.#header(e)),
    };
  }

  /** nfgenmsg: family u8, version u8, the queue's number u16 in network order. */
  #header(e: Encoder): Encoder {
    const { number } = this.#options;
    return e
      .u8(0)
      .u8(0)
      .u8(number >> 8)
      .u8(number & 0xff);
  }

  #heed({ type, body }: Message): void {
    if (type === control.error && body.byteLength >= 4) {
      const errno = -body.getInt32(0, true);
      const isGone = errnoName(errno) === "ENOENT"; // the packet, with its interface
      if (errno !== 0 && !isGone) this.#fail(new NetlinkError(errnoName(errno), this.#words()));
    }
    if (type !== PACKET) return;
    const found = attributes(body, 4);
    const id = found.get(attribute.header)?.getUint32(0);
    if (id === undefined) return;
    this.#lastId = id;
    const payload = found.get(attribute.payload);
    this.#options.onPacket(payload ? bytesOf(payload) : new Uint8Array(), () => this.#accept(id));
  }

  #accept(id: number): void {
    if (!this.#isOpen) return;
    try {
      this.#send(VERDICT, id);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      this.#fail(error);
    }
  }

  #send(type: number, id: number): void {
    const verdict = Uint8Array.of(...bigEndian(ACCEPT), ...bigEndian(id));
    const body = (e: Encoder) => this.#header(e).attributeBytes(attribute.verdict, verdict);
    this.#socket.send([{ type, flags: 0, words: () => `let packet ${id} go`, body }]);
  }
}
