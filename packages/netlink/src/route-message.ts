import { type Address, type Family, prefixOf, width } from "@margay/net";
import { addressAt, type Encoder, eachAttribute, type Message, type Request } from "./message.ts";
import { formatRoute, type Nexthop, type Route, routeScopes, routeTypes, scopeOf, tableOf } from "./route.ts";

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
  nexthopId: 30,
} as const;
const SCOPE_NOWHERE = 255;
/** RTNH_F_ONLINK. */
export const ONLINK = 4;

/** The interface index of a name and back, as known for one batch. */
export interface Names {
  index(name: string): number | undefined;
  name(index: number): string | undefined;
}

/** AF_INET or AF_INET6. */
export const afOf = (family: Family): number => (family === 4 ? 2 : 10);

/** RTM_NEWROUTE. `names` must know every interface of the route. */
export const newRoute = (r: Route, names: Names, flags: number): Request => ({
  type: RTM_NEWROUTE,
  flags,
  words: () => `add route ${formatRoute(r)}`,
  body: (e) => {
    writeHeader(e, r, scopeOf(r), routeTypes[r.type]);
    if (r.source) e.attributeAddress(attribute.preferredSource, r.source);
    const [only] = r.nexthops;
    if (r.nhid !== undefined) e.attributeU32(attribute.nexthopId, r.nhid);
    else if (only && r.nexthops.length === 1) writeNexthop(e, r, only, names);
    else if (only) e.attribute(attribute.multipath, (m) => writeMultipath(m, r, names));
  },
});

/** RTM_DELROUTE of exactly this destination, table, metric and protocol, whatever its type and nexthops. */
export const delRoute = (r: Route): Request => ({
  type: RTM_DELROUTE,
  flags: 0,
  words: () => `delete route ${formatRoute(r)}`,
  body: (e) => writeHeader(e, r, SCOPE_NOWHERE, 0),
});

/** rtmsg: family, dst length, src length, tos, table, protocol, scope, type u8 each; flags u32. */
function writeHeader(e: Encoder, r: Route, scope: number, type: number): void {
  const table = tableOf(r);
  const onlink = r.nhid === undefined && r.nexthops.length === 1 && r.nexthops[0]?.onlink;
  e.u8(afOf(r.dst.family)).u8(r.dst.length).u8(0).u8(0);
  e.u8(table < 256 ? table : 0)
    .u8(r.protocol)
    .u8(scope)
    .u8(type);
  e.u32(onlink ? ONLINK : 0);
  if (r.dst.length > 0) e.attributeAddress(attribute.destination, r.dst);
  e.attributeU32(attribute.table, table);
  if (r.metric) e.attributeU32(attribute.priority, r.metric);
}

function writeNexthop(e: Encoder, r: Route, n: Nexthop, names: Names): void {
  const index = n.dev === undefined ? undefined : names.index(n.dev);
  if (index !== undefined) e.attributeU32(attribute.outInterface, index);
  writeGateway(e, r, n);
}

/** RTA_GATEWAY, or RTA_VIA when the gateway is of the other family (RFC 8950). */
function writeGateway(e: Encoder, r: Route, { via }: Nexthop): void {
  if (!via) return;
  if (via.family === r.dst.family) e.attributeAddress(attribute.gateway, via);
  else e.attribute(attribute.via, (v) => v.u16(afOf(via.family)).address(via));
}

/** rtnexthop: length u16, flags u8, weight-1 u8, interface i32, attributes. */
function writeMultipath(e: Encoder, r: Route, names: Names): void {
  for (const n of r.nexthops)
    e.sized16((hop) => {
      hop.u8(n.onlink ? ONLINK : 0).u8((n.weight ?? 1) - 1);
      hop.u32(n.dev === undefined ? 0 : (names.index(n.dev) ?? 0));
      writeGateway(hop, r, n);
    });
}

/** A dump of one family, filtered by the kernel; protocol or table 0 is all. */
export const dumpRoutes = (filter: { family: Family; protocol: number; table: number }): Request => ({
  type: RTM_GETROUTE,
  flags: 0,
  words: () => `list IPv${filter.family} routes`,
  body: (e) => {
    e.u8(afOf(filter.family)).u8(0).u8(0).u8(0).u8(0).u8(filter.protocol).u8(0).u8(0).u32(0);
    if (filter.table !== 0) e.attributeU32(attribute.table, filter.table);
  },
});

const byNumber = <K extends string>(table: Readonly<Record<K, number>>): Map<number, K> =>
  new Map(Object.entries<number>(table).map(([name, n]) => [n, name as K])); // the keys are K by its type
const typeNames = byNumber(routeTypes);
const scopeNames = byNumber(routeScopes);

/**
 * RTM_NEWROUTE or RTM_DELROUTE -> Route. Undefined for what Route has no words for (broadcast, anycast and
 * multicast routes, other families). Throws MalformedError or RangeError on a bad length.
 */
export function readRoute({ body }: Message, names: Names): Route | undefined {
  if (body.byteLength < 12) return undefined;
  const [family, length] = [familyOf(body.getUint8(0)), body.getUint8(1)];
  const [type, scope] = [typeNames.get(body.getUint8(7)), scopeNames.get(body.getUint8(6))];
  if (!family || !type || length > width(family)) return undefined;
  let dst: Address = { family, bits: 0n };
  let [table, metric]: [number, number | undefined] = [body.getUint8(4), undefined];
  let source: Address | undefined;
  let nhid: number | undefined;
  const found: Found = {
    flags: body.getUint32(8, true),
    index: 0,
    weight: 1,
    via: undefined,
    hops: undefined,
  };
  eachAttribute(body, 12, (kind, at, size) => {
    if (kind === attribute.destination) dst = addressAt(body, at, size);
    else if (kind === attribute.table && size === 4) table = body.getUint32(at, true);
    else if (kind === attribute.priority && size === 4) metric = body.getUint32(at, true);
    else if (kind === attribute.preferredSource) source = addressAt(body, at, size);
    else if (kind === attribute.nexthopId && size === 4) nhid = body.getUint32(at, true);
    else if (kind === attribute.multipath) found.hops = readMultipath(body, at, size, names);
    else readNexthopAttribute(body, { kind, at, size }, found);
  });
  if (dst.family !== family) return undefined;
  return {
    dst: prefixOf(dst, length),
    table,
    protocol: body.getUint8(5),
    type,
    ...(scope && family === 4 && { scope }),
    ...(metric !== undefined && { metric }),
    ...(source && { source }),
    nexthops: type === "unicast" || type === "local" ? (found.hops ?? [nexthop(found, names)]) : [],
    ...(nhid !== undefined && { nhid }),
  };
}

const familyOf = (af: number): Family | undefined => (af === 2 ? 4 : af === 10 ? 6 : undefined);

interface Found {
  readonly flags: number;
  index: number;
  readonly weight: number;
  via: Address | undefined;
  hops: Nexthop[] | undefined;
}

function readNexthopAttribute(
  view: DataView,
  { kind, at, size }: { kind: number; at: number; size: number },
  found: Found,
): void {
  if (kind === attribute.outInterface && size === 4) found.index = view.getUint32(at, true);
  else if (kind === attribute.gateway) found.via = addressAt(view, at, size);
  else if (kind === attribute.via) found.via = addressAt(view, at + 2, size - 2);
}

function readMultipath(view: DataView, start: number, size: number, names: Names): Nexthop[] {
  const hops: Nexthop[] = [];
  const end = start + size;
  for (let at = start; end - at >= 8; ) {
    const length = view.getUint16(at, true);
    if (length < 8 || at + length > end) throw new RangeError(`nexthop of ${length} bytes`);
    const hop = new DataView(view.buffer, view.byteOffset + at, length);
    const found: Found = {
      flags: hop.getUint8(2),
      index: hop.getUint32(4, true),
      weight: hop.getUint8(3) + 1,
      via: undefined,
      hops: undefined,
    };
    eachAttribute(hop, 8, (kind, where, n) => readNexthopAttribute(hop, { kind, at: where, size: n }, found));
    hops.push(nexthop(found, names));
    at += (length + 3) & ~3;
  }
  return hops;
}

function nexthop({ flags, index, weight, via }: Found, names: Names): Nexthop {
  return {
    ...(via && { via }),
    ...(index !== 0 && { dev: names.name(index) ?? `if${index}` }),
    ...((flags & ONLINK) !== 0 && { onlink: true }),
    ...(weight > 1 && { weight }),
  };
}
