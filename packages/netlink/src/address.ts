import { type Address, formatAddress } from "@margay/net";
import { addressOf, attributes, type Encoder, flags, type Message, type Request, u32 } from "./message.ts";
import { afOf } from "./route-message.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
const attribute = { address: 1, local: 2, broadcast: 4, flags: 8, protocol: 11 } as const;
const IFA_F_NODAD = 2;
const scopes = { global: 0, link: 253, host: 254 } as const;

/** An address of an interface. */
export interface InterfaceAddress {
  readonly address: Address;
  /** Bits of the connected network: 32 or 128 for a lone address. */
  readonly length: number;
  readonly scope?: keyof typeof scopes;
  /** IPv6: usable at once, without duplicate address detection. */
  readonly nodad?: boolean;
  /** Who set it (IFA_PROTO): a mark like that of routes, since Linux 5.18. */
  readonly protocol?: number;
}

/** What listAddresses answers. */
export interface ListedAddress extends InterfaceAddress {
  readonly index: number;
}

export const formatInterfaceAddress = (a: InterfaceAddress): string =>
  `${formatAddress(a.address)}/${a.length}`;

/** ifaddrmsg: family, length, flags, scope u8 each; interface index u32. */
function write(e: Encoder, a: InterfaceAddress, index: number): Encoder {
  e.u8(afOf(a.address.family))
    .u8(a.length)
    .u8(a.nodad ? IFA_F_NODAD : 0)
    .u8(scopes[a.scope ?? "global"])
    .u32(index);
  return e.attributeAddress(attribute.local, a.address).attributeAddress(attribute.address, a.address);
}

export const newAddress = (a: InterfaceAddress, dev: string, index: number): Request => ({
  type: RTM_NEWADDR,
  flags: flags.create | flags.replace,
  words: () => `add address ${formatInterfaceAddress(a)} dev ${dev}`,
  body: (e) => {
    write(e, a, index).attributeU32(attribute.flags, a.nodad ? IFA_F_NODAD : 0);
    return a.protocol === undefined ? e : e.attribute(attribute.protocol, (v) => v.u8(a.protocol ?? 0));
  },
});

export const delAddress = (a: InterfaceAddress, dev: string, index: number): Request => ({
  type: RTM_DELADDR,
  flags: 0,
  words: () => `delete address ${formatInterfaceAddress(a)} dev ${dev}`,
  body: (e) => write(e, a, index),
});

/** `index` 0 is every interface; filtered by the kernel. */
export const dumpAddresses = (index: number): Request => ({
  type: RTM_GETADDR,
  flags: 0,
  words: () => "list addresses",
  body: (e) => e.u32(0).u32(index),
});

/** RTM_NEWADDR or RTM_DELADDR; undefined for other families. Throws MalformedError or RangeError. */
export function readAddress(message: Message): ListedAddress | undefined {
  const { body } = message;
  const af = body.byteLength < 8 ? 0 : body.getUint8(0);
  if (af !== 2 && af !== 10) return undefined;
  const found = attributes(body, 8);
  const at = found.get(attribute.local) ?? found.get(attribute.address);
  if (!at) return undefined;
  const scope = Object.entries(scopes).find(([, n]) => n === body.getUint8(3))?.[0] as
    | keyof typeof scopes
    | undefined;
  const protocol = found.get(attribute.protocol)?.getUint8(0) ?? 0;
  const bits = u32(found.get(attribute.flags)) ?? body.getUint8(2);
  return {
    index: body.getUint32(4, true),
    address: addressOf(at),
    length: body.getUint8(1),
    ...(scope && { scope }),
    ...((bits & IFA_F_NODAD) !== 0 && { nodad: true }),
    ...(protocol !== 0 && { protocol }),
  };
}
