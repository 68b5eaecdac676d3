import { type Address, formatAddress } from "@margay/net";
import type { NetlinkError } from "./error.ts";
import {
  addressOf,
  attributes,
  bigEndian,
  bytesOf,
  type Encoder,
  type Message,
  NETLINK_NETFILTER,
  type Request,
} from "./message.ts";
import { afOf } from "./route-message.ts";
import { RequestSocket } from "./socket.ts";

/** NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, _GET, _DELETE. */
const CT_NEW = 0x100;
const CT_GET = 0x101;
const CT_DELETE = 0x102;
const NESTED = 0x8000;
/** CTA_TUPLE_ORIG and so on. */
const attribute = {
  ...{ original: 1, reply: 2, mark: 8, id: 12, master: 14 },
  ...{ zone: 18, markMask: 21, filter: 25 },
} as const;
/** CTA_TUPLE_IP, CTA_TUPLE_PROTO; within the first CTA_IP_V4_SRC and so on. */
const tuple = { ip: 1, protocol: 2 } as const;
/** CTA_PROTO_NUM and so on. */
const protocolAttribute = {
  ...{ number: 1, sourcePort: 2, destinationPort: 3 },
  ...{ icmpType: 5, icmpCode: 6, icmpv6Type: 8, icmpv6Code: 9 },
} as const;
const ends = { source: { 4: 1, 6: 3, bit: 1 }, destination: { 4: 2, 6: 4, bit: 2 } } as const;

/** One direction of a connection. Ports and ICMP type only with protocols that have them. */
export interface Tuple {
  readonly source: Address;
  readonly destination: Address;
  /** IANA protocol number. */
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
}

/** A connection that the kernel tracks. */
export interface Connection {
  /** As its first packet was sent; the answer shows what NAT made of it. */
  readonly original: Tuple;
  readonly reply: Tuple;
  readonly mark: number;
  /** Came about as part of another one, such as FTP's transfers. */
  readonly isRelated: boolean;
  /** What names it to the kernel: attributes as they came. */
  readonly name: readonly (readonly [type: number, value: Uint8Array])[];
}

/** The connections with an end among the addresses, in either direction, or all of them. Throws NetlinkError. */
export async function connectionsOf(
  addresses: readonly Address[] | "all",
  namespace?: string,
): Promise<readonly Connection[]> {
  return withSocket(namespace, async (socket) => {
    const isAll = addresses === "all";
    const wanted = new Set(isAll ? [] : addresses.map(formatAddress));
    const isWanted = ({ source, destination }: Tuple) =>
      isAll || wanted.has(formatAddress(source)) || wanted.has(formatAddress(destination));
    const families = ([4, 6] as const).filter(
      (family) => isAll || addresses.some((a) => a.family === family),
    );
    const found: Connection[] = [];
    for (const family of families)
      await socket.dump(list(family), (message) => {
        const one = connection(message);
        if (one && (isWanted(one.original) || isWanted(one.reply))) found.push(one);
      });
    return found;
  });
}

/**
 * Sets bits of the connections' marks, so that rules can tell them (`-m connmark`).
 * @returns why some could not be marked, if so; one that has ended meanwhile is none of these
 */
export const markConnections = (
  connections: readonly Connection[],
  bits: number,
  namespace?: string,
): Promise<NetlinkError | undefined> =>
  withSocket(namespace, (socket) =>
    change(
      socket,
      connections.map((one) => markRequest(one, bits)),
    ),
  );

/** Makes the kernel forget these connections; result as above. */
export const deleteConnections = (
  connections: readonly Connection[],
  namespace?: string,
): Promise<NetlinkError | undefined> =>
  withSocket(namespace, (socket) => change(socket, connections.map(deleteRequest)));

/**
 * Makes the kernel forget the connections that any of the addresses has an end of, before or after NAT: who gets the
 * address next must not be let in by the policy of who had it. IPv4 needs no reading from Linux 6.8 on; before, the kernel wants a
 * whole tuple and refuses ours (EINVAL on 6.1). For IPv6 the table is read: the kernel's own filter takes every address but the one
 * it is given (seen on 6.18).
 * @returns why some could not be forgotten, if so
 */
export async function forgetConnections(
  addresses: readonly Address[],
  namespace?: string,
): Promise<NetlinkError | undefined> {
  const four = addresses.filter(({ family }) => family === 4);
  const refused = await withSocket(namespace, (socket) => change(socket, four.flatMap(forgetFiltered)));
  const isOld = refused?.code === "EINVAL";
  const toRead = isOld ? addresses : addresses.filter(({ family }) => family === 6);
  const found = toRead.length > 0 ? await connectionsOf(toRead, namespace) : [];
  const failure = await deleteConnections(found, namespace);
  return isOld ? failure : (refused ?? failure);
}

/** Of our own namespace: stays open, for when one is closed nf_tables keeps this thread until all its readers are done. */
let kept: RequestSocket | undefined;

async function withSocket<T>(
  namespace: string | undefined,
  action: (socket: RequestSocket) => Promise<T>,
): Promise<T> {
  if (namespace === undefined) {
    kept ??= new RequestSocket(NETLINK_NETFILTER, undefined, { inBackground: true });
    return action(kept);
  }
  const socket = new RequestSocket(NETLINK_NETFILTER, namespace);
  try {
    return await action(socket);
  } finally {
    socket.close();
  }
}

async function change(
  socket: RequestSocket,
  requests: readonly Request[],
): Promise<NetlinkError | undefined> {
  const failures = await socket.transact(requests);
  return failures.find(({ error }) => error.code !== "ENOENT")?.error; // gone meanwhile is success
}

/** nfgenmsg: family u8, version u8, resource u16. Version 0 would mean every family. */
const header = (e: Encoder, family: 4 | 6): Encoder => e.u8(afOf(family)).u8(1).u16(0);

/** One for each end of each direction, as a filter's conditions must all hold. */
function forgetFiltered(address: Address): Request[] {
  return [attribute.original, attribute.reply].flatMap((direction) =>
    Object.values(ends).map((end) => ({
      type: CT_DELETE,
      flags: 0,
      words: () => `forget connections of ${formatAddress(address)}`,
      body: (e: Encoder) =>
        header(e, address.family)
          .attribute(direction | NESTED, (t) =>
            t.attribute(tuple.ip | NESTED, (ip) => ip.attributeAddress(end[address.family], address)),
          )
          .attribute(attribute.filter | NESTED, (f) => f.attributeU32(direction, end.bit)),
    })),
  );
}

const list = (family: 4 | 6): Request => ({
  type: CT_GET,
  flags: 0,
  words: () => `list IPv${family} connections`,
  body: (e) => header(e, family),
});

const deleteRequest = ({ original, name }: Connection): Request => ({
  type: CT_DELETE,
  flags: 0,
  words: () => `forget connection ${text(original)}`,
  body: (e) => named(e, original, name),
});

const markRequest = ({ original, name }: Connection, bits: number): Request => ({
  type: CT_NEW,
  flags: 0,
  words: () => `mark connection ${text(original)}`,
  body: (e) => {
    named(e, original, name);
    for (const type of [attribute.mark, attribute.markMask]) e.attributeBytes(type, bigEndian(bits));
  },
});

function named(e: Encoder, { source }: Tuple, name: Connection["name"]): void {
  header(e, source.family);
  for (const [type, value] of name)
    e.attributeBytes(type === attribute.original ? type | NESTED : type, value);
}

const text = ({ source, destination, protocol }: Tuple): string =>
  `${formatAddress(source)} > ${formatAddress(destination)} protocol ${protocol}`;

/** Undefined for a message that describes no connection. */
function connection({ body }: Message): Connection | undefined {
  if (body.byteLength < 4) return undefined;
  const found = attributes(body, 4);
  const [original, reply] = [attribute.original, attribute.reply].map((type) => readTuple(found.get(type)));
  if (!original || !reply) return undefined;
  return {
    ...{ original, reply },
    mark: found.get(attribute.mark)?.getUint32(0) ?? 0,
    isRelated: found.has(attribute.master),
    name: [attribute.original, attribute.id, attribute.zone].flatMap((type) => {
      const value = found.get(type);
      return value ? [[type, bytesOf(value).slice()] as const] : []; // the buffer it lies in is used again
    }),
  };
}

function readTuple(value: DataView | undefined): Tuple | undefined {
  const parts = value && attributes(value, 0);
  const ip = parts?.get(tuple.ip);
  const protocol = parts?.get(tuple.protocol);
  if (!ip || !protocol) return undefined;
  const addresses = attributes(ip, 0);
  const [source, destination] = [ends.source, ends.destination].map(
    (end) => addresses.get(end[4]) ?? addresses.get(end[6]),
  );
  if (!source || !destination) return undefined;
  const facts = attributes(protocol, 0);
  const u8 = (type: number) => facts.get(type)?.getUint8(0);
  const port = (type: number) => facts.get(type)?.getUint16(0);
  const [from, to] = [port(protocolAttribute.sourcePort), port(protocolAttribute.destinationPort)];
  const type = u8(protocolAttribute.icmpType) ?? u8(protocolAttribute.icmpv6Type);
  const code = u8(protocolAttribute.icmpCode) ?? u8(protocolAttribute.icmpv6Code) ?? 0;
  return {
    ...{ source: addressOf(source), destination: addressOf(destination) },
    protocol: u8(protocolAttribute.number) ?? 0,
    ...(from !== undefined && { sourcePort: from }),
    ...(to !== undefined && { destinationPort: to }),
    ...(type !== undefined && { icmp: { type, code } }),
  };
}
