import { check, errnoName, NetlinkError } from "./error.ts";
import { Encoder, type Message, messages, type Request } from "./message.ts";
import { native } from "./native.ts";
import { openSocket, receiveBuffer } from "./socket.ts";

const AF_NETLINK = 16;
const EAGAIN = 11;
const ENOBUFS = 105;
const EINTR = 4;
/** Datagrams taken in one callback; the poll is level-triggered and calls again. */
const perCallback = 512;

export interface EventOptions {
  readonly protocol: number;
  readonly namespace?: string | undefined;
  /** Bit n-1 for group n (RTNLGRP_...). */
  readonly groups: number;
  readonly onMessage: (message: Message) => void;
  /** Notifications were lost: whoever keeps a picture of the kernel must read it again. */
  readonly onOverflow: () => void;
  readonly onError: (error: NetlinkError) => void;
}

/**
 * Multicast notifications. After an overflow libuv reports EBADF and stops the handle (measured), so the poll
 * is set up anew; and what is still queued is thrown away, since a gap lies before it.
 */
export class EventSocket {
  readonly #options: EventOptions;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(65_536);
  #poll: object | undefined;

  constructor(options: EventOptions) {
    this.#options = options;
    this.#fd = openSocket(options.protocol, options.namespace);
    receiveBuffer(this.#fd, 4 << 20);
    const address = new DataView(new ArrayBuffer(12)); // sockaddr_nl: family, pad, port, groups
    address.setUint16(0, AF_NETLINK, true);
    address.setUint32(8, options.groups, true);
    check(native().bind(this.#fd, new Uint8Array(address.buffer)), "subscribe to netlink groups");
    this.#start();
  }

  /** Hears no more what requests of this port caused: the kernel drops it before it is queued. */
  ignore(port: number): void {
    check(native().attachFilter(this.#fd, unlessFrom(port)), "filter netlink notifications");
  }

  /** Answers come among the messages. Throws NetlinkError when the kernel does not take it. */
  send(requests: readonly Request[]): void {
    const e = new Encoder();
    for (const request of requests) e.message(request, 0);
    check(native().send(this.#fd, e.view()), () => requests.map(({ words }) => words()).join(", "));
  }

  close(): void {
    this.#stop();
    native().close(this.#fd);
  }

  #start(): void {
    const token = native().poll(this.#fd, (status) => this.#readable(status));
    if (typeof token === "number") check(token, "watch the netlink socket");
    else this.#poll = token;
  }

  #stop(): void {
    if (this.#poll) native().unpoll(this.#poll);
    this.#poll = undefined;
  }

  #readable(status: number): void {
    if (status < 0) this.#restart();
    for (let n = 0; n < perCallback && this.#poll; n++) {
      const length = native().recv(this.#fd, this.#buffer);
      if (length === -EAGAIN || length === -EINTR) break;
      if (length === -ENOBUFS) this.#restart();
      else if (length < 0) this.#fail(errnoName(-length));
      else if (length > this.#buffer.length) this.#fail("EMSGSIZE");
      else this.#deliver(length);
    }
  }

  #deliver(length: number): void {
    for (const message of messages(new DataView(this.#buffer.buffer, 0, length)))
      this.#options.onMessage(message);
  }

  #restart(): void {
    this.#stop();
    for (let n = 0; n < 1 << 20; n++) {
      const length = native().recv(this.#fd, this.#buffer);
      if (length === -EAGAIN) break;
    }
    this.#start();
    this.#options.onOverflow();
  }

  #fail(code: string): void {
    this.#stop();
    this.#options.onError(new NetlinkError(code, "receive netlink notifications"));
  }
}

/** Words are loaded as if they were in network order. */
function unlessFrom(port: number): Uint8Array {
  const [loadWord, jumpIfEqual, answer] = [0x20, 0x15, 0x06];
  const portAt = 12; // nlmsghdr
  const swapped = new DataView(new ArrayBuffer(4));
  swapped.setUint32(0, port, true);
  const program = [
    [loadWord, 0, 0, portAt],
    [jumpIfEqual, 0, 1, swapped.getUint32(0)],
    [answer, 0, 0, 0], // bytes of it to keep
    [answer, 0, 0, 0xffff_ffff],
  ] as const;
  const e = new Encoder();
  // struct sock_filter: code u16, instructions to skip if true and false u8 each, operand u32
  for (const [code, ifTrue, ifFalse, operand] of program) e.u16(code).u8(ifTrue).u8(ifFalse).u32(operand);
  return e.view();
}
