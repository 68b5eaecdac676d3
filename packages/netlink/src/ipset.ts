import { attributes, type Encoder, type Message, NETLINK_NETFILTER, text } from "./message.ts";
import { RequestSocket } from "./socket.ts";

const AF_INET = 2;
/** NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST; its protocol since Linux 2.6.39. */
const LIST = 0x607;
const PROTOCOL = 6;
/** IPSET_FLAG_LIST_HEADER: without members. */
const HEADERS_ALONE = 4;
/** NLA_F_NET_BYTEORDER. */
const NETWORK_ORDER = 0x4000;
/** IPSET_ATTR_PROTOCOL and so on; the last is one of those nested in IPSET_ATTR_DATA. */
const attribute = { protocol: 1, name: 2, facts: 7, flags: 6, elements: 24 } as const;

/** Stays open: it is asked again and again. */
let kept: RequestSocket | undefined;

/**
 * How many members each ipset of this namespace has, by name; members themselves are not read. The kernel tells nobody when a
 * set changes: one dump of headers is what a look costs. Throws NetlinkError.
 */
export async function setSizes(): Promise<ReadonlyMap<string, number>> {
  kept ??= new RequestSocket(NETLINK_NETFILTER, undefined, { inBackground: true });
  const request = { type: LIST, flags: 0, words: () => "list the sizes of ipsets", body: headersAlone };
  return new Map(await kept.dump(request, sizeOf));
}

const headersAlone = (e: Encoder): Encoder =>
  e
    .bytes(new Uint8Array([AF_INET, 0, 0, 0])) // nfgenmsg
    .attribute(attribute.protocol, (value) => value.u8(PROTOCOL))
    .attributeBytes(attribute.flags | NETWORK_ORDER, new Uint8Array([0, 0, 0, HEADERS_ALONE]));

function sizeOf({ body }: Message): readonly [name: string, size: number] | undefined {
  const found = attributes(body, 4);
  const [name, facts] = [found.get(attribute.name), found.get(attribute.facts)];
  if (!name || !facts) return undefined;
  return [text(name), attributes(facts, 0).get(attribute.elements)?.getUint32(0) ?? 0];
}
