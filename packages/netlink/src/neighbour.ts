import { type Address, formatAddress } from "@margay/net";
import { formatMac, macBytes } from "./link.ts";
import {
  addressOf,
  attributes,
  bytesOf,
  type Encoder,
  flags,
  type Message,
  type Request,
} from "./message.ts";
import { afOf } from "./route-message.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
const attribute = { destination: 1, linkAddress: 2 } as const;
const states = {
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;
const NTF_PROXY = 0x08;
const NTF_ROUTER = 0x80;

/** An ARP or NDP entry. With `proxy` the kernel answers for the address itself, and there is no MAC. */
export interface Neighbour {
  readonly address: Address;
  readonly mac?: string;
  readonly state?: keyof typeof states;
  readonly proxy?: boolean;
}

export interface ListedNeighbour extends Neighbour {
  readonly index: number;
  /** It has advertised itself as a router (RFC 4861 §6.2), whether or not this host listens to such. */
  readonly router?: boolean;
}

/** ndmsg: family u8, pad u8, pad u16, index i32, state u16, flags u8, type u8. */
function write(e: Encoder, n: Neighbour, index: number): Encoder {
  e.u8(afOf(n.address.family)).u8(0).u16(0).u32(index);
  e.u16(n.proxy ? 0 : states[n.state ?? "permanent"])
    .u8(n.proxy ? NTF_PROXY : 0)
    .u8(0);
  return e.attributeAddress(attribute.destination, n.address);
}

export const newNeighbour = (n: Neighbour, dev: string, index: number): Request => ({
  type: RTM_NEWNEIGH,
  flags: flags.create | flags.replace,
  words: () => `set neighbour ${formatNeighbour(n)} dev ${dev}`,
  body: (e) => {
    write(e, n, index);
    if (n.mac) e.attributeBytes(attribute.linkAddress, macBytes(n.mac));
  },
});

const formatNeighbour = (n: Neighbour): string =>
  [n.proxy ? "proxy" : "", formatAddress(n.address), n.mac ? `lladdr ${n.mac}` : ""]
    .filter(Boolean)
    .join(" ");

export const delNeighbour = (n: Neighbour, dev: string, index: number): Request => ({
  type: RTM_DELNEIGH,
  flags: 0,
  words: () => `delete neighbour ${formatAddress(n.address)} dev ${dev}`,
  body: (e) => write(e, n, index),
});

export const dumpNeighbours = (proxy: boolean): Request => ({
  type: RTM_GETNEIGH,
  flags: 0,
  words: () => (proxy ? "list proxy neighbours" : "list neighbours"),
  body: (e) =>
    e
      .u32(0)
      .u32(0)
      .u16(0)
      .u8(proxy ? NTF_PROXY : 0)
      .u8(0),
});

/** RTM_NEWNEIGH or RTM_DELNEIGH; undefined for bridge entries and other families. Throws MalformedError or RangeError. */
export function readNeighbour(message: Message): ListedNeighbour | undefined {
  const { body } = message;
  const af = body.byteLength < 12 ? 0 : body.getUint8(0);
  if (af !== 2 && af !== 10) return undefined;
  const found = attributes(body, 12);
  const at = found.get(attribute.destination);
  if (!at) return undefined;
  const mac = found.get(attribute.linkAddress);
  const state = Object.entries(states).find(([, n]) => n === body.getUint16(8, true))?.[0];
  return {
    index: body.getInt32(4, true),
    address: addressOf(at),
    ...(mac && { mac: formatMac(bytesOf(mac)) }),
    ...(state && { state: state as keyof typeof states }), // the key of the entry just found
    ...((body.getUint8(10) & NTF_PROXY) !== 0 && { proxy: true }),
    ...((body.getUint8(10) & NTF_ROUTER) !== 0 && { router: true }),
  };
}
