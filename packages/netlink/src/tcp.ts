import { type Address, addressToBytes, type Family, formatAddress } from "@margay/net";
import { check } from "./error.ts";
import { inNamespace } from "./namespace.ts";
import { native } from "./native.ts";
import { afOf } from "./route-message.ts";
import { int } from "./socket.ts";

const level = { socket: 1, ip: 0, tcp: 6, ip6: 41 } as const;
const types = { stream: 1, datagram: 2 } as const;
const SO_REUSEADDR = 2;
const SO_BINDTODEVICE = 25;
const SO_BINDTOIFINDEX = 62;
const TCP_MD5SIG = 14;
/** The same, for all of a network. */
const TCP_MD5SIG_EXT = 32;
const TCP_MD5SIG_FLAG_PREFIX = 1;
const IPV6_V6ONLY = 26;
/** Hop limit set on packets, and the least accepted (RFC 5082). */
const hops = {
  4: { level: level.ip, ttl: 2, minTtl: 21 },
  6: { level: level.ip6, ttl: 16, minTtl: 73 },
} as const;
/** IP_FREEBIND, IPV6_FREEBIND. */
const free = { 4: { level: level.ip, name: 15 }, 6: { level: level.ip6, name: 78 } } as const;
/** TCP_MD5SIG_MAXKEYLEN. */
export const md5KeyLimit = 80;

export interface SocketOptions {
  /** RFC 2385 keys by peer; for a listener as many as it has peers. */
  readonly md5?: readonly { readonly peer: Address; readonly key: string }[];
  readonly ttl?: number;
  /** Packets that arrive with less are dropped in the kernel (GTSM). */
  readonly minTtl?: number;
  readonly bindToDevice?: string;
  readonly reuse?: boolean;
  /** Binds also to an address that is not on this host (yet). */
  readonly freebind?: boolean;
  /** `scope`: interface index, for a link-local address. */
  readonly bind?: { readonly address: Address; readonly port: number; readonly scope?: number };
}

/**
 * A socket with options that must be there before the SYN, made in the namespace at `path` (this thread's own when
 * undefined), where it stays. Hand the descriptor to `new net.Socket({ fd }).connect(...)` or
 * `server.listen({ fd })`, which then own it. IPv6 sockets are IPv6 only.
 */
export function socketIn(
  path: string | undefined,
  wanted: { readonly family: Family; readonly type: keyof typeof types; readonly options?: SocketOptions },
): number {
  const make = () =>
    check(native().socket(afOf(wanted.family), types[wanted.type], 0), `open an IPv${wanted.family} socket`);
  const fd = path === undefined ? make() : inNamespace(path, make);
  try {
    apply(fd, wanted.family, wanted.options ?? {});
    return fd;
  } catch (error) {
    native().close(fd);
    throw error;
  }
}

function apply(fd: number, family: Family, o: SocketOptions): void {
  const set = (at: number, name: number, value: Uint8Array, words: string) =>
    check(native().setsockopt(fd, at, name, value), words);
  if (family === 6) set(level.ip6, IPV6_V6ONLY, int(1), "set IPV6_V6ONLY");
  if (o.reuse) set(level.socket, SO_REUSEADDR, int(1), "set SO_REUSEADDR");
  if (o.freebind) set(free[family].level, free[family].name, int(1), "set IP_FREEBIND");
  if (o.bindToDevice !== undefined) bindToDevice(fd, o.bindToDevice);
  setHops(fd, family, o);
  for (const { peer, key } of o.md5 ?? []) tcpMd5(fd, peer, key);
  if (o.bind) bind(fd, o.bind);
}

const bindToDevice = (fd: number, device: string): number =>
  check(
    native().setsockopt(fd, level.socket, SO_BINDTODEVICE, new TextEncoder().encode(`${device}\0`)),
    `bind to device ${device}`,
  );

/** Options that ask where packets came in, and the control message (header 16 bytes) that tells of the one that made the connection. */
const arrival = {
  4: { level: level.ip, ask: 8, options: 9, index: 16 }, // IP_PKTINFO, IP_PKTOPTIONS; struct in_pktinfo
  6: { level: level.ip6, ask: 49, options: 6, index: 32 }, // IPV6_RECVPKTINFO, IPV6_2292PKTOPTIONS; struct in6_pktinfo
} as const;

/**
 * Binds an accepted connection to an interface, for all that is still to come; whether it came in there, too. NetlinkError ENODEV
 * when there is no such interface.
 */
export function bindAccepted(fd: number, family: Family, device: string): boolean {
  const words = `ask where a connection from ${device} came in`;
  bindToDevice(fd, device);
  const bound = new Uint8Array(4);
  check(native().getsockopt(fd, level.socket, SO_BINDTOIFINDEX, bound), words);
  const { level: at, ask, options, index } = arrival[family];
  check(native().setsockopt(fd, at, ask, int(1)), words);
  const told = new Uint8Array(64);
  check(native().getsockopt(fd, at, options, told), words);
  check(native().setsockopt(fd, at, ask, int(0)), words);
  return new DataView(told.buffer).getInt32(index, true) === new DataView(bound.buffer).getInt32(0, true);
}

/** TTL of what is sent and the least accepted (RFC 5082), on any socket. Throws NetlinkError. */
export function setHops(fd: number, family: Family, o: Pick<SocketOptions, "ttl" | "minTtl">): void {
  const { level: at, ttl, minTtl } = hops[family];
  if (o.ttl !== undefined) check(native().setsockopt(fd, at, ttl, int(o.ttl)), `set TTL ${o.ttl}`);
  if (o.minTtl !== undefined)
    check(native().setsockopt(fd, at, minTtl, int(o.minTtl)), `set minimum TTL ${o.minTtl}`);
}

function bind(fd: number, { address, port, scope }: NonNullable<SocketOptions["bind"]>): void {
  check(native().bind(fd, sockaddr(address, port, scope)), `bind to ${formatAddress(address)} port ${port}`);
}

/**
 * Sets, changes or (with undefined) clears the key that segments to and from `peer` are signed with (RFC 2385); on a
 * live connection too. With `length` all peers of that network; the narrowest network's key counts. RangeError above 80
 * bytes; NetlinkError ENOENT when there was no key to clear.
 */
export function tcpMd5(fd: number, peer: Address, key: string | undefined, length?: number): void {
  const bytes = new TextEncoder().encode(key ?? "");
  if (bytes.length > md5KeyLimit)
    throw new RangeError(`TCP-MD5 key of ${bytes.length} bytes; at most ${md5KeyLimit}`);
  if (key === "") throw new RangeError("TCP-MD5 key is empty");
  // struct tcp_md5sig: sockaddr_storage (128), flags u8, prefix length u8, key length u16, interface i32, key (80)
  const option = new Uint8Array(216);
  option.set(sockaddr(peer, 0));
  if (length !== undefined) option.set([TCP_MD5SIG_FLAG_PREFIX, length], 128);
  new DataView(option.buffer).setUint16(130, bytes.length, true);
  option.set(bytes, 136);
  const whom = length === undefined ? formatAddress(peer) : `${formatAddress(peer)}/${length}`;
  const words = `${key === undefined ? "clear" : "set"} TCP-MD5 key of ${whom}`;
  check(
    native().setsockopt(fd, level.tcp, length === undefined ? TCP_MD5SIG : TCP_MD5SIG_EXT, option),
    words,
  );
}

const SOCK_RAW = 3;
const IPPROTO_ICMPV6 = 58;
const ICMP6_FILTER = 1;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;

/**
 * A socket that sends ICMPv6 messages to all nodes on one link (ff02::1), with hop limit 255 and the checksum of the
 * kernel; it hears nothing. By interface index, in this thread's namespace. NetlinkError EPERM without CAP_NET_RAW.
 */
export function allNodesSocket(index: number): number {
  const words = "open an ICMPv6 socket";
  const fd = check(native().socket(afOf(6), SOCK_RAW, IPPROTO_ICMPV6), words);
  try {
    const blocked = new Uint8Array(32).fill(255); // a bit for each type that is not heard
    check(native().setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, blocked), words);
    check(native().setsockopt(fd, level.ip6, IPV6_MULTICAST_HOPS, int(255)), words);
    check(native().setsockopt(fd, level.ip6, IPV6_MULTICAST_LOOP, int(0)), words); // this host is no neighbour of its own
    check(native().connect(fd, sockaddr({ family: 6, bits: allNodes }, 0, index)), words);
    return fd;
  } catch (error) {
    native().close(fd);
    throw error;
  }
}

/** ff02::1 */
const allNodes = (0xff02n << 112n) | 1n;

/** Sends one datagram on a connected socket. NetlinkError as the kernel says: EADDRNOTAVAIL while the link has no address of its own. */
export const sendDatagram = (fd: number, bytes: Uint8Array): void => {
  check(native().send(fd, bytes), "send a datagram");
};

/**
 * How many of these bytes a connected stream socket takes at once: none while it is full, or is broken, which who writes to it next is
 * told. For a socket whose owner holds nothing unsent itself.
 */
export const sendNow = (fd: number, bytes: Uint8Array): number => Math.max(0, native().send(fd, bytes));

/** sockaddr_in: family, port (network order), address; sockaddr_in6 has flow info before and the scope after. */
function sockaddr(address: Address, port: number, scope = 0): Uint8Array {
  const out = new Uint8Array(address.family === 4 ? 16 : 28);
  const view = new DataView(out.buffer);
  view.setUint16(0, afOf(address.family), true);
  view.setUint16(2, port);
  out.set(addressToBytes(address), address.family === 4 ? 4 : 8);
  if (address.family === 6) view.setUint32(24, scope, true);
  return out;
}

/** Closes a descriptor that was not handed to node. */
export const closeSocket = (fd: number): void => {
  check(native().close(fd), "close a socket");
};
