import type { Packet } from "@margay/calc";
import { type Address, formatAddress } from "@margay/net";
import type { Connection } from "@margay/netlink";

/** Whether an address is one of these. */
export function among(addresses: readonly Address[]): (address: Address) => boolean {
  const texts = new Set(addresses.map(formatAddress));
  return (address) => texts.has(formatAddress(address));
}

/** As the forwarding rules saw it: after translation of the destination, before that of the source. */
export function firstPacket({ original, reply }: Connection): Packet {
  const { source, protocol, sourcePort, icmp } = original;
  return {
    ...{ source, destination: reply.source, protocol },
    ...(sourcePort !== undefined && { sourcePort }),
    ...(reply.sourcePort !== undefined && { destinationPort: reply.sourcePort }),
    ...(icmp && { icmp }),
  };
}

/** The addresses of what began a connection and of what it leads to. */
export function ends(connection: Connection): readonly Address[] {
  const { source, destination } = firstPacket(connection);
  return [source, destination];
}
