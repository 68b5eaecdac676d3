import { type Address, formatAddress, sameAddress } from "@margay/net";
import type { NetlinkError } from "./error.ts";
import { addressOf, attributes, bytesOf, type Encoder, type Message, type Request } from "./message.ts";
import { afOf } from "./route-message.ts";
import { RequestSocket } from "./socket.ts";

const NETLINK_NETFILTER = 12;
/** NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, _DELETE. */
const CT_GET = 0x101;
const CT_DELETE = 0x102;
const NESTED = 0x8000;
const attribute = { original: 1, reply: 2, id: 12, zone: 18, filter: 25 } as const;
/** CTA_TUPLE_IP, and within it CTA_IP_V4_SRC and so on. */
const tupleIp = 1;
const ends = { source: { 4: 1, 6: 3, bit: 1 }, destination: { 4: 2, 6: 4, bit: 2 } } as const;

/**
 * Makes the kernel forget the connections that any of the addresses has an end of, before or after NAT: who gets the
 * address next must not be let in by the policy of who had it. IPv4 needs Linux 5.8 and no reading. For IPv6 the table
 * is read: the kernel's own filter takes every address but the one it is given (seen on 6.18).
 * @returns why some could not be forgotten, if so
 */
export async function forgetConnections(
  addresses: readonly Address[],
  namespace?: string,
): Promise<NetlinkError | undefined> {
  const socket = new RequestSocket(NETLINK_NETFILTER, namespace);
  try {
    const six = addresses.filter(({ family }) => family === 6);
    const found = six.length > 0 ? await socket.dump(list(6), (message) => ofAny(message, six)) : [];
    const four = addresses.filter(({ family }) => family === 4).flatMap(forgetFiltered);
    const failures = await socket.transact([...four, ...found]);
    return failures.find(({ error }) => error.code !== "ENOENT")?.error; // gone meanwhile is success
  } finally {
    socket.close();
  }
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
          .attribute(direction | NESTED, (tuple) =>
            tuple.attribute(tupleIp | NESTED, (ip) => ip.attributeAddress(end[address.family], address)),
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

/** The request that deletes this very connection, if one of the addresses has an end of it. */
function ofAny({ body }: Message, addresses: readonly Address[]): Request | undefined {
  if (body.byteLength < 4) return undefined;
  const found = attributes(body, 4);
  const original = found.get(attribute.original);
  const tuples = [original, found.get(attribute.reply)].flatMap((tuple) => (tuple ? [tuple] : []));
  const hit = addresses.find((address) => tuples.some((tuple) => hasEnd(tuple, address)));
  if (!hit || !original) return undefined;
  const copies = [attribute.id, attribute.zone].flatMap((type) => {
    const value = found.get(type);
    return value ? [[type, bytesOf(value).slice()] as const] : [];
  });
  const tuple = bytesOf(original).slice(); // the buffer it lies in is used again
  return {
    type: CT_DELETE,
    flags: 0,
    words: () => `forget a connection of ${formatAddress(hit)}`,
    body: (e) => {
      header(e, hit.family).attributeBytes(attribute.original | NESTED, tuple);
      for (const [type, value] of copies) e.attributeBytes(type, value);
    },
  };
}

function hasEnd(tuple: DataView, address: Address): boolean {
  const ip = attributes(tuple, 0).get(tupleIp);
  const found = ip ? attributes(ip, 0) : new Map<number, DataView>();
  return Object.values(ends).some((end) => {
    const value = found.get(end[address.family]);
    return value !== undefined && sameAddress(addressOf(value), address);
  });
}
