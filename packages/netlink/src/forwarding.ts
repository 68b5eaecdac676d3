import { type Address, formatAddress } from "@margay/net";
import { NetlinkError } from "./error.ts";
import { formatMac, macBytes } from "./link.ts";
import { request, requireLink } from "./links.ts";
import { addressOf, attributes, bytesOf, flags, type Message, type Request } from "./message.ts";
import { RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH } from "./neighbour.ts";
import type { Netlink } from "./netlink.ts";

const AF_BRIDGE = 7;
/** In the device's own table, not its bridge's. */
const NTF_SELF = 2;
const NUD_PERMANENT = 0x80;
const attribute = { destination: 1, linkAddress: 2 } as const;

/** One entry of a VXLAN device's forwarding database: frames to this MAC go to this node. */
export interface Forwarding {
  readonly mac: string;
  /** Address of the node. */
  readonly to: Address;
}

export interface ListedForwarding extends Forwarding {
  readonly index: number;
}

/** Of one interface. NetlinkError ENODEV when there is none of that name. */
export async function listForwarding(nl: Netlink, dev: string): Promise<Forwarding[]> {
  const { index } = await requireLink(nl, dev, `list forwarding dev ${dev}`);
  const listed = await nl.requests.dump(dumpForwarding(index), readForwarding);
  return listed.filter((one) => one.index === index).map(({ mac, to }) => ({ mac, to }));
}

/** Permanent; replaces what the MAC had. */
export async function setForwarding(nl: Netlink, dev: string, entry: Forwarding): Promise<void> {
  const { index } = await requireLink(nl, dev, `set forwarding dev ${dev}`);
  await request(nl, change(RTM_NEWNEIGH, entry, { dev, index }));
}

/** None is success. */
export async function deleteForwarding(nl: Netlink, dev: string, entry: Forwarding): Promise<void> {
  const { index } = await requireLink(nl, dev, `delete forwarding dev ${dev}`);
  const [failure] = await nl.requests.transact([change(RTM_DELNEIGH, entry, { dev, index })]);
  if (failure && !(failure.error instanceof NetlinkError && failure.error.code === "ENOENT"))
    throw failure.error;
}

/** ndmsg: family u8, pad u8, pad u16, index i32, state u16, flags u8, type u8. */
const change = (
  type: typeof RTM_NEWNEIGH | typeof RTM_DELNEIGH,
  { mac, to }: Forwarding,
  { dev, index }: { dev: string; index: number },
): Request => ({
  type,
  flags: type === RTM_NEWNEIGH ? flags.create | flags.replace : 0,
  words: () =>
    `${type === RTM_NEWNEIGH ? "set" : "delete"} forwarding ${mac} dst ${formatAddress(to)} dev ${dev}`,
  body: (e) =>
    e
      .u8(AF_BRIDGE)
      .u8(0)
      .u16(0)
      .u32(index)
      .u16(NUD_PERMANENT)
      .u8(NTF_SELF)
      .u8(0)
      .attributeBytes(attribute.linkAddress, macBytes(mac))
      .attributeAddress(attribute.destination, to),
});

const dumpForwarding = (index: number): Request => ({
  type: RTM_GETNEIGH,
  flags: 0,
  words: () => "list forwarding",
  body: (e) => e.u8(AF_BRIDGE).u8(0).u16(0).u32(index).u32(0),
});

/** RTM_NEWNEIGH or RTM_DELNEIGH of a device that forwards to addresses; undefined for all others. Throws MalformedError. */
export function readForwarding({ body }: Message): ListedForwarding | undefined {
  if (body.byteLength < 12 || body.getUint8(0) !== AF_BRIDGE) return undefined;
  const found = attributes(body, 12);
  const [mac, to] = [found.get(attribute.linkAddress), found.get(attribute.destination)];
  if (!mac || !to) return undefined;
  return { index: body.getInt32(4, true), mac: formatMac(bytesOf(mac)), to: addressOf(to) };
}
