import {
  type Address,
  addressFromBytes,
  addressToBytes,
  formatAddress,
  formatPrefix,
  type Prefix,
  prefixOf,
  sameAddress,
  samePrefix,
  width,
} from "@margay/net";
import { attributes, bytesOf, Encoder, type Message, type Request, u32, window } from "./message.ts";

/** RTN_*: what happens to a packet that the route matches. */
export const routeTypes = {
  unicast: 1,
  local: 2,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;
const scopes = { global: 0, link: 253, host: 254 } as const;
const SCOPE_NOWHERE = 255;
export const mainTable = 254;

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
const attribute = {
  destination: 1,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  multipath: 9,
  table: 15,
  via: 18,
} as const;
/** RTNH_F_ONLINK: the gateway is reachable although no prefix of the link holds it. */
const ONLINK = 4;

export interface Nexthop {
  readonly via?: Address;
  /** Interface name. */
  readonly dev?: string;
  readonly onlink?: boolean;
  /** Share among equal-cost nexthops, 1 to 256; 1 when absent. */
  readonly weight?: number;
}

/** One route; with several nexthops it is ECMP. A blackhole, unreachable, prohibit or throw route has none. */
export interface Route {
  readonly dst: Prefix;
  /** 254, the main table, when absent. */
  readonly table?: number;
  /** Who made it (RTPROT_*): our mark. */
  readonly protocol: number;
  readonly type: keyof typeof routeTypes;
  /** When absent: link for unicast without gateway, host for local, else global. IPv6 has none. */
  readonly scope?: keyof typeof scopes;
  /** 0 when absent (IPv4); IPv6 turns 0 into 1024. Lower wins. */
  readonly metric?: number;
  /** Preferred source address of locally made packets. */
  readonly source?: Address;
  readonly nexthops: readonly Nexthop[];
}

/** The interface index of a name and back, as known for one batch. */
export interface Names {
  index(name: string): number | undefined;
  name(index: number): string | undefined;
}

export const afOf = (family: 4 | 6): number => (family === 4 ? 2 : 10);

/** The kernel's metric: IPv6 has no 0 (IP6_RT_PRIO_USER). */
export const metricOf = (r: Route): number => r.metric || (r.dst.family === 6 ? 1024 : 0);
export const tableOf = (r: Route): number => r.table ?? mainTable;

/** `ip route`'s words: "10.244.1.0/26 via 172.20.0.12 dev eth0 metric 5". */
export function formatRoute(r: Route): string {
  const type = r.type === "unicast" ? [] : [r.type];
  const table = tableOf(r) === mainTable ? [] : ["table", `${r.table}`];
  const hops = r.nexthops.flatMap((n) => [
    ...(r.nexthops.length > 1 ? ["nexthop"] : []),
    ...formatNexthop(n),
  ]);
  const source = r.source ? ["src", formatAddress(r.source)] : [];
  const metric = r.metric ? ["metric", `${r.metric}`] : [];
  return [...type, formatPrefix(r.dst), ...hops, ...source, ...table, ...metric].join(" ");
}

function formatNexthop(n: Nexthop): string[] {
  const via = n.via ? ["via", formatAddress(n.via)] : [];
  const dev = n.dev ? ["dev", n.dev] : [];
  const weight = n.weight && n.weight > 1 ? ["weight", `${n.weight}`] : [];
  return [...via, ...dev, ...weight, ...(n.onlink ? ["onlink"] : [])];
}

/** Whether the kernel would treat both alike: defaults spelt out, nexthops in any order. */
export function sameRoute(a: Route, b: Route): boolean {
  return (
    samePrefix(a.dst, b.dst) &&
    a.type === b.type &&
    a.protocol === b.protocol &&
    tableOf(a) === tableOf(b) &&
    metricOf(a) === metricOf(b) &&
    scopeOf(a) === scopeOf(b) &&
    (a.source && b.source ? sameAddress(a.source, b.source) : a.source === b.source) &&
    hopsText(a) === hopsText(b)
  );
}

const hopsText = (r: Route): string =>
  r.nexthops
    .map((n) => formatNexthop(n).join(" "))
    .sort()
    .join(",");

function scopeOf(r: Route): number {
  if (r.dst.family === 6) return scopes.global;
  if (r.scope) return scopes[r.scope];
  if (r.type === "local") return scopes.host;
  return r.type === "unicast" && r.nexthops.every((n) => !n.via) ? scopes.link : scopes.global;
}

/** RTM_NEWROUTE. `names` must know every interface of the route. */
export function newRoute(r: Route, names: Names, flags: number): Request {
  const body = header(r, scopeOf(r), routeTypes[r.type]);
  if (r.metric) body.attributeU32(attribute.priority, r.metric);
  if (r.source) body.attributeBytes(attribute.preferredSource, addressToBytes(r.source));
  const [only] = r.nexthops;
  if (only && r.nexthops.length === 1) writeNexthop(body, r, only, names);
  else if (only) body.attribute(attribute.multipath, (e) => writeMultipath(e, r, names));
  return { type: RTM_NEWROUTE, flags, words: `add route ${formatRoute(r)}`, body };
}

/** RTM_DELROUTE of exactly this destination, table, metric and protocol. */
export function delRoute(r: Route): Request {
  const body = header(r, SCOPE_NOWHERE, 0);
  if (r.metric) body.attributeU32(attribute.priority, r.metric);
  return { type: RTM_DELROUTE, flags: 0, words: `delete route ${formatRoute(r)}`, body };
}

/** rtmsg: family, dst length, src length, tos, table, protocol, scope, type u8 each; flags u32. */
function header(r: Route, scope: number, type: number): Encoder {
  const table = tableOf(r);
  const [only, ...others] = r.nexthops;
  const e = new Encoder();
  e.u8(afOf(r.dst.family)).u8(r.dst.length).u8(0).u8(0);
  e.u8(table < 256 ? table : 0)
    .u8(r.protocol)
    .u8(scope)
    .u8(type);
  e.u32(others.length === 0 && only?.onlink ? ONLINK : 0);
  if (r.dst.length > 0) e.attributeBytes(attribute.destination, addressToBytes(r.dst));
  return e.attributeU32(attribute.table, table);
}

function writeNexthop(e: Encoder, r: Route, n: Nexthop, names: Names): void {
  const index = n.dev === undefined ? undefined : names.index(n.dev);
  if (index !== undefined) e.attributeU32(attribute.outInterface, index);
  writeGateway(e, r, n);
}

/** RTA_GATEWAY, or RTA_VIA when the gateway is of the other family (RFC 8950). */
function writeGateway(e: Encoder, r: Route, { via }: Nexthop): void {
  if (!via) return;
  if (via.family === r.dst.family) e.attributeBytes(attribute.gateway, addressToBytes(via));
  else e.attribute(attribute.via, (v) => v.u16(afOf(via.family)).bytes(addressToBytes(via)));
}

/** rtnexthop: length u16, flags u8, weight-1 u8, interface i32, attributes. */
function writeMultipath(e: Encoder, r: Route, names: Names): void {
  for (const n of r.nexthops)
    e.sized16((h) => {
      h.u8(n.onlink ? ONLINK : 0).u8((n.weight ?? 1) - 1);
      h.u32(n.dev === undefined ? 0 : (names.index(n.dev) ?? 0));
      writeGateway(h, r, n);
    });
}

const typeNames = new Map(
  Object.entries(routeTypes).map(([name, n]) => [n as number, name as Route["type"]]),
);
const scopeNames = new Map(
  Object.entries(scopes).map(([name, n]) => [n as number, name as keyof typeof scopes]),
);

/**
 * RTM_NEWROUTE or RTM_DELROUTE -> Route. Undefined for what Route has no words for (broadcast, anycast and
 * multicast routes, other families). Throws MalformedError or RangeError on a bad length.
 */
export function readRoute(message: Message, names: Names): Route | undefined {
  const { body } = message;
  if (body.byteLength < 12) return undefined;
  const [af, length, type] = [body.getUint8(0), body.getUint8(1), typeNames.get(body.getUint8(7))];
  const family = af === 2 ? 4 : af === 10 ? 6 : undefined;
  if (!family || !type || length > width(family)) return undefined;
  const found = attributes(body, 12);
  const at = found.get(attribute.destination);
  const base = at ? addressFromBytes(bytesOf(at)) : { family, bits: 0n };
  const [source, metric] = [found.get(attribute.preferredSource), u32(found.get(attribute.priority))];
  const scope = scopeNames.get(body.getUint8(6));
  return {
    dst: prefixOf({ family, bits: base.bits }, length),
    table: u32(found.get(attribute.table)) ?? body.getUint8(4),
    protocol: body.getUint8(5),
    type,
    ...(scope && family === 4 && { scope }),
    ...(metric !== undefined && { metric }),
    ...(source && { source: addressFromBytes(bytesOf(source)) }),
    nexthops:
      type === "unicast" || type === "local" ? readNexthops(found, body.getUint32(8, true), names) : [],
  };
}

function readNexthops(found: Map<number, DataView>, flags: number, names: Names): Nexthop[] {
  const multipath = found.get(attribute.multipath);
  if (!multipath)
    return [nexthop(found, { index: u32(found.get(attribute.outInterface)), flags, weight: 1 }, names)];
  const hops: Nexthop[] = [];
  for (let at = 0; multipath.byteLength - at >= 8; ) {
    const length = multipath.getUint16(at, true);
    if (length < 8 || at + length > multipath.byteLength) throw new RangeError(`nexthop of ${length} bytes`);
    const hop = window(multipath, at, length);
    const fixed = { index: hop.getUint32(4, true), flags: hop.getUint8(2), weight: hop.getUint8(3) + 1 };
    hops.push(nexthop(attributes(hop, 8), fixed, names));
    at += (length + 3) & ~3;
  }
  return hops;
}

function nexthop(
  found: Map<number, DataView>,
  fixed: { index: number | undefined; flags: number; weight: number },
  names: Names,
): Nexthop {
  const [gateway, foreign] = [found.get(attribute.gateway), found.get(attribute.via)];
  const bytes = gateway ? bytesOf(gateway) : foreign && bytesOf(foreign).subarray(2);
  const dev = fixed.index ? (names.name(fixed.index) ?? `if${fixed.index}`) : undefined;
  return {
    ...(bytes && { via: addressFromBytes(bytes) }),
    ...(dev && { dev }),
    ...((fixed.flags & ONLINK) !== 0 && { onlink: true }),
    ...(fixed.weight > 1 && { weight: fixed.weight }),
  };
}
