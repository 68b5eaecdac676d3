import { closeSync } from "node:fs";
import {
  attributes,
  bytesOf,
  type Encoder,
  flags,
  type Message,
  type Request,
  text,
  u32,
} from "./message.ts";
import { openNamespace } from "./namespace.ts";
import { formatVxlan, readVxlan, type VxlanSettings, writeVxlan } from "./vxlan.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const attribute = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  operState: 16,
  linkInfo: 18,
  alias: 20,
  familySpec: 26,
  group: 27,
  namespaceFd: 28,
  extMask: 29,
  txQueues: 31,
  rxQueues: 32,
} as const;
/** Of the fifty attributes that a link has. */
const READ: ReadonlySet<number> = new Set(
  Object.values(attribute).filter((type) => type !== attribute.familySpec),
);
/** In IFLA_LINKINFO, and in a veth's IFLA_INFO_DATA. */
const info = { kind: 1, data: 2, vethPeer: 1 } as const;
/** In IFLA_AF_SPEC, by address family; and in AF_INET6's. */
const AF_INET6 = 10;
const inet6 = { settings: 2, addressGeneration: 8 } as const;
/** Of IFLA_INET6_CONF, an array of i32 by DEVCONF_*. */
const DEVCONF_DISABLE_IPV6 = 26;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFF_UP = 1;
const RTEXT_FILTER_SKIP_STATS = 8;
const operStates = [
  "unknown",
  "not-present",
  "down",
  "lower-layer-down",
  "testing",
  "dormant",
  "up",
] as const;

/** A network interface. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** "veth", "bridge", "vxlan", ...; undefined for hardware and loopback. */
  readonly kind?: string;
  /** Administratively up. */
  readonly up: boolean;
  readonly state: (typeof operStates)[number];
  /** Bytes. */
  readonly mtu: number;
  readonly mac?: string;
  /** A veth's other end, an index in that end's namespace. */
  readonly peerIndex?: number;
  /** Free text of whoever made it: an owner's mark. */
  readonly alias?: string;
  /** `ip link set ... group`; 0 of those that nobody put into one. */
  readonly group: number;
  /** Of a vxlan device. */
  readonly vxlan?: VxlanSettings;
}

/** What setLink can change; absent is left alone. */
export interface LinkChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  readonly name?: string;
  /** At most 255 bytes. */
  readonly alias?: string;
}

export interface Veth {
  readonly name: string;
  /** Bytes, for both ends. */
  readonly mtu: number;
  readonly mac?: string;
  readonly up?: boolean;
  /** `ip link ... group`; the kernel's default is 0. */
  readonly group?: number;
  /**
   * The other end, made in place in the namespace at that path (moving it there costs four times as much). It is
   * down: the kernel opens no veth whose other end is not there yet (ENOTCONN), so set it up from inside.
   */
  readonly peer: {
    readonly name: string;
    readonly namespace?: string;
    readonly mac?: string;
  };
}

export interface Vxlan extends VxlanSettings {
  readonly name: string;
  /** Bytes, of what is carried. */
  readonly mtu: number;
  readonly mac: string;
}

/** "ee:ee:ee:ee:ee:ee" -> 6 bytes; RangeError when it is no MAC. */
export function macBytes(mac: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) throw new RangeError(`not a MAC address: ${mac}`);
  return Uint8Array.from(mac.split(":"), (part) => Number.parseInt(part, 16));
}

export const formatMac = (bytes: Uint8Array): string =>
  [...bytes].map((b) => b.toString(16).padStart(2, "0")).join(":");

/** ifinfomsg: family u8, pad u8, type u16, index i32, flags u32, change mask u32. */
const header = (e: Encoder, index: number, up: boolean | undefined): Encoder =>
  e
    .u32(0)
    .u32(index)
    .u32(up ? IFF_UP : 0)
    .u32(up === undefined ? 0 : IFF_UP);

/** All links, without their counters. */
export const dumpLinks = (): Request => ({
  type: RTM_GETLINK,
  flags: 0,
  words: () => "list links",
  body: (e) => header(e, 0, undefined).attributeU32(attribute.extMask, RTEXT_FILTER_SKIP_STATS),
});

export const getLink = (name: string): Request => ({
  type: RTM_GETLINK,
  flags: 0,
  words: () => `find link ${name}`,
  body: (e) =>
    header(e, 0, undefined)
      .attributeU32(attribute.extMask, RTEXT_FILTER_SKIP_STATS)
      .attributeText(attribute.name, name),
});

/** Runs `use` with the veth request, while the peer's namespace is held open for the kernel to find. */
export async function withVeth<T>(veth: Veth, use: (request: Request) => Promise<T>): Promise<T> {
  const { namespace } = veth.peer;
  if (namespace === undefined) return use(newVeth(veth, undefined));
  const fd = openNamespace(namespace);
  try {
    return await use(newVeth(veth, fd));
  } finally {
    closeSync(fd);
  }
}

function newVeth(veth: Veth, namespaceFd: number | undefined): Request {
  const { peer, mtu } = veth;
  const where = peer.namespace ? ` in ${peer.namespace}` : "";
  const writePeer = (e: Encoder) => {
    writeEnd(header(e, 0, undefined), { ...peer, mtu });
    if (namespaceFd !== undefined) e.attributeU32(attribute.namespaceFd, namespaceFd);
  };
  return {
    type: RTM_NEWLINK,
    flags: flags.create | flags.exclusive,
    words: () => `create veth ${veth.name} with peer ${peer.name}${where}`,
    body: (e) =>
      writeEnd(header(e, 0, veth.up), veth).attribute(attribute.linkInfo, (i) =>
        i.attributeText(info.kind, "veth").attribute(info.data, (d) => d.attribute(info.vethPeer, writePeer)),
      ),
  };
}

/** One queue each way: the kernel's default of one per CPU only costs memory on a veth. */
function writeEnd(e: Encoder, end: { name: string; mtu: number; mac?: string; group?: number }): Encoder {
  e.attributeText(attribute.name, end.name).attributeU32(attribute.mtu, end.mtu);
  if (end.group !== undefined) e.attributeU32(attribute.group, end.group);
  if (end.mac) e.attributeBytes(attribute.address, macBytes(end.mac));
  return e.attributeU32(attribute.txQueues, 1).attributeU32(attribute.rxQueues, 1);
}

export const newVxlan = ({ name, mtu, mac, ...settings }: Vxlan): Request => ({
  type: RTM_NEWLINK,
  flags: flags.create | flags.exclusive,
  words: () => `create vxlan ${name} ${formatVxlan(settings)}`,
  body: (e) =>
    header(e, 0, undefined)
      .attributeText(attribute.name, name)
      .attributeU32(attribute.mtu, mtu)
      .attributeBytes(attribute.address, macBytes(mac))
      .attribute(attribute.linkInfo, (i) =>
        i.attributeText(info.kind, "vxlan").attribute(info.data, (d) => writeVxlan(d, settings)),
      ),
});

export function changeLink(link: Link, change: LinkChange): Request {
  const body = (e: Encoder) => {
    header(e, link.index, change.up);
    if (change.mtu !== undefined) e.attributeU32(attribute.mtu, change.mtu);
    if (change.mac) e.attributeBytes(attribute.address, macBytes(change.mac));
    if (change.name) e.attributeText(attribute.name, change.name);
    if (change.alias) e.attributeText(attribute.alias, change.alias);
  };
  return { type: RTM_NEWLINK, flags: 0, words: () => `set link ${link.name} ${changeWords(change)}`, body };
}

const changeWords = ({ up, ...others }: LinkChange): string =>
  [
    ...(up === undefined ? [] : [up ? "up" : "down"]),
    ...Object.entries(others).map(([key, value]) => `${key} ${value}`),
  ].join(" ");

/** The kernel gives the link no IPv6 address of its own accord (`ip link set ... addrgenmode none`), also when it comes up later. */
export const withoutOwnAddress = ({ index, name }: Pick<Link, "index" | "name">): Request => ({
  type: RTM_SETLINK,
  flags: 0,
  words: () => `set link ${name} addrgenmode none`,
  body: (e) =>
    header(e, index, undefined).attribute(attribute.familySpec, (families) =>
      families.attribute(AF_INET6, (own) =>
        own.attribute(inet6.addressGeneration, (mode) => mode.u8(IN6_ADDR_GEN_MODE_NONE)),
      ),
    ),
});

/** Sets a link up, found by its name: the kernel has an index of its own for it. */
export const upLink = (name: string): Request => ({
  type: RTM_SETLINK,
  flags: 0,
  words: () => `set link ${name} up`,
  body: (e) => header(e, 0, true).attributeText(attribute.name, name),
});

export const removeLink = (name: string): Request => ({
  type: RTM_DELLINK,
  flags: 0,
  words: () => `delete link ${name}`,
  body: (e) => header(e, 0, undefined).attributeText(attribute.name, name),
});

/** RTM_SETLINK, not RTM_NEWLINK: that would take an unknown name and a group as "change every link of the group". */
export const groupLink = (name: string, group: number): Request => ({
  type: RTM_SETLINK,
  flags: 0,
  words: () => `set link ${name} group ${group}`,
  body: (e) =>
    header(e, 0, undefined).attributeText(attribute.name, name).attributeU32(attribute.group, group),
});

export const removeGroup = (group: number): Request => ({
  type: RTM_DELLINK,
  flags: 0,
  words: () => `delete links of group ${group}`,
  body: (e) => header(e, 0, undefined).attributeU32(attribute.group, group),
});

/** RTM_NEWLINK or RTM_DELLINK -> Link; undefined for a body too short or nameless. Throws MalformedError. */
export function readLink(message: Message): Link | undefined {
  const { body } = message;
  if (body.byteLength < 16) return undefined;
  const found = attributes(body, 16, READ);
  const name = found.get(attribute.name);
  if (!name) return undefined;
  const [mac, nested, state] = [attribute.address, attribute.linkInfo, attribute.operState].map((a) =>
    found.get(a),
  );
  const about = nested && attributes(nested, 0);
  const [kind, data] = [about?.get(info.kind), about?.get(info.data)];
  const alias = found.get(attribute.alias);
  const peerIndex = u32(found.get(attribute.link));
  return {
    index: body.getInt32(4, true),
    name: text(name),
    ...(kind && { kind: text(kind) }),
    up: (body.getUint32(8, true) & IFF_UP) !== 0,
    state: operStates[state?.byteLength ? state.getUint8(0) : 0] ?? "unknown",
    mtu: u32(found.get(attribute.mtu)) ?? 0,
    group: u32(found.get(attribute.group)) ?? 0,
    ...(mac && { mac: formatMac(bytesOf(mac)) }),
    ...(peerIndex !== undefined && { peerIndex }),
    ...(alias && { alias: text(alias) }),
    ...(kind && data && text(kind) === "vxlan" && { vxlan: readVxlan(data) }),
  };
}

/** Of a link's message: whether `net.ipv6.conf.<name>.disable_ipv6` is set. */
export function isWithoutIpv6({ body }: Message): boolean {
  if (body.byteLength < 16) return false;
  const families = attributes(body, 16, new Set([attribute.familySpec])).get(attribute.familySpec);
  const own = families && attributes(families, 0).get(AF_INET6);
  const settings = own && attributes(own, 0).get(inet6.settings);
  const at = 4 * DEVCONF_DISABLE_IPV6;
  return settings !== undefined && settings.byteLength >= at + 4 && settings.getInt32(at, true) !== 0;
}
