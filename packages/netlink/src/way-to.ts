import { type Address, formatAddress, width } from "@margay/net";
import { addressOf, attributes, type Message, type Request, u32 } from "./message.ts";
import type { Netlink } from "./netlink.ts";
import { afOf, RTM_GETROUTE, RTM_NEWROUTE } from "./route-message.ts";

/** RTA_DST, RTA_OIF; they are behind the rtmsg. */
const attribute = { destination: 1, outInterface: 4 } as const;
const HEADER = 12;

/** By which interface the kernel would send packets to each address now, by the address's text; absent: by none. */
export async function waysTo(
  netlink: Netlink,
  addresses: readonly Address[],
): Promise<ReadonlyMap<string, string>> {
  const names = await netlink.names();
  const found = new Map<string, string>();
  await netlink.requests.transact(addresses.map(getRoute), ({ type, body }: Message) => {
    if (type !== RTM_NEWROUTE) return;
    const facts = attributes(body, HEADER);
    const [destination, index] = [facts.get(attribute.destination), u32(facts.get(attribute.outInterface))];
    const name = index === undefined ? undefined : names.name(index);
    if (destination && name !== undefined) found.set(formatAddress(addressOf(destination)), name);
  });
  return found;
}

const getRoute = (to: Address): Request => ({
  type: RTM_GETROUTE,
  flags: 0,
  words: () => `ask for the way to ${formatAddress(to)}`,
  body: (e) =>
    e
      .u8(afOf(to.family))
      .u8(width(to.family))
      .bytes(new Uint8Array(HEADER - 2))
      .attributeAddress(attribute.destination, to),
});
