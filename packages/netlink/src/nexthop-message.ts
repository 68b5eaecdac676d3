import { addressAt, eachAttribute, type Message, type Request } from "./message.ts";
import { formatNexthop, type Nexthop } from "./route.ts";
import { afOf, type Names, ONLINK } from "./route-message.ts";

export const RTM_NEWNEXTHOP = 104;
export const RTM_DELNEXTHOP = 105;
const RTM_GETNEXTHOP = 106;
const attribute = { id: 1, group: 2, outInterface: 5, gateway: 6 } as const;
/** struct nexthop_grp: id u32, weight-1 u8, reserved u8 and u16. */
const memberBytes = 8;

/** What routes can lean on instead of naming their next hops: one of these, or several such objects with their weights. */
export type NexthopObject = { readonly id: number; readonly protocol: number } & (
  | { readonly hop: Nexthop }
  | { readonly group: readonly Member[] }
);

export interface Member {
  readonly id: number;
  /** Share among the group's, 1 to 256. */
  readonly weight: number;
}

/** RTM_NEWNEXTHOP. `names` must know the interface. A hop in an object has no weight: its groups say it. */
export const newNexthop = (object: NexthopObject, names: Names, flags: number): Request => ({
  type: RTM_NEWNEXTHOP,
  flags,
  words: () => `add ${formatObject(object)}`,
  body: (e) => {
    const hop = "hop" in object ? object.hop : {};
    writeHeader(e, { af: hop.via ? afOf(hop.via.family) : 0, ...object, onlink: hop.onlink });
    e.attributeU32(attribute.id, object.id);
    if ("group" in object)
      e.attribute(attribute.group, (g) => {
        for (const { id, weight } of object.group)
          g.u32(id)
            .u8(weight - 1)
            .u8(0)
            .u16(0);
      });
    const index = hop.dev === undefined ? undefined : names.index(hop.dev);
    if (index !== undefined) e.attributeU32(attribute.outInterface, index);
    if (hop.via) e.attributeAddress(attribute.gateway, hop.via);
  },
});

/** RTM_DELNEXTHOP: with it the kernel drops all routes that lean on it, and tells of none. */
export const delNexthop = (id: number): Request => ({
  type: RTM_DELNEXTHOP,
  flags: 0,
  words: () => `delete nexthop id ${id}`,
  body: (e) => writeHeader(e, {}).attributeU32(attribute.id, id),
});

export const dumpNexthops = (): Request => ({
  type: RTM_GETNEXTHOP,
  flags: 0,
  words: () => "list nexthop objects",
  body: (e) => writeHeader(e, {}),
});

/** nhmsg: family, scope, protocol, reserved u8 each; flags u32. */
const writeHeader = (
  e: Parameters<Request["body"]>[0],
  { af = 0, protocol = 0, onlink = false }: { af?: number; protocol?: number; onlink?: boolean | undefined },
) =>
  e
    .u8(af)
    .u8(0)
    .u8(protocol)
    .u8(0)
    .u32(onlink ? ONLINK : 0);

function formatObject(object: NexthopObject): string {
  const what =
    "hop" in object
      ? formatNexthop(object.hop)
      : ["group", object.group.map(({ id, weight }) => `${id},${weight}`).join("/")];
  return ["nexthop id", `${object.id}`, ...what].join(" ");
}

/**
 * RTM_NEWNEXTHOP or RTM_DELNEXTHOP -> NexthopObject. One of a kind that has no words here (a blackhole) is a hop to nowhere.
 * Undefined when it is too short to be one. Throws MalformedError or RangeError on a bad length.
 */
export function readNexthop({ body }: Message, names: Names): NexthopObject | undefined {
  if (body.byteLength < 8) return undefined;
  let [id, index] = [0, 0];
  let via: Nexthop["via"];
  let group: Member[] | undefined;
  eachAttribute(body, 8, (kind, at, size) => {
    if (kind === attribute.id && size === 4) id = body.getUint32(at, true);
    else if (kind === attribute.outInterface && size === 4) index = body.getUint32(at, true);
    else if (kind === attribute.gateway) via = addressAt(body, at, size);
    else if (kind === attribute.group) group = readGroup(body, at, size);
  });
  const object = { id, protocol: body.getUint8(2) };
  if (group) return { ...object, group };
  const onlink = (body.getUint32(4, true) & ONLINK) !== 0;
  const dev = index === 0 ? {} : { dev: names.name(index) ?? `if${index}` };
  return { ...object, hop: { ...(via && { via }), ...dev, ...(onlink && { onlink }) } };
}

function readGroup(view: DataView, start: number, size: number): Member[] {
  const members: Member[] = [];
  for (let at = start; at + memberBytes <= start + size; at += memberBytes)
    members.push({ id: view.getUint32(at, true), weight: view.getUint8(at + 4) + 1 });
  return members;
}
