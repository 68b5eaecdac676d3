import { type Enforced, type LocalEndpoint, type Packet, verdict } from "@margay/calc";
import { type Address, formatAddress, sameAddress } from "@margay/net";
import type { Connection } from "@margay/netlink";

/** What to do with connections whose endpoints' policies changed. */
export interface Judgement {
  /** Let through until now, and denied by now. */
  readonly cut: readonly Connection[];
  /** Cut before, and allowed by now: forgotten, so that they can begin anew. */
  readonly free: readonly Connection[];
}

export interface Case {
  readonly connections: readonly Connection[];
  /** The endpoints whose word counts. */
  readonly endpoints: readonly LocalEndpoint[];
  /** Addresses of the node itself: it always reaches its own workloads. */
  readonly own: readonly Address[];
  /** Mark bit of those cut. */
  readonly cutBit: number;
}

/**
 * Judges connections as their first packets would be judged now. Connections that came about as part of another one,
 * such as FTP's transfers, are left alone: no rule names them.
 */
export function judge(state: Enforced, { connections, endpoints, own, cutBit }: Case): Judgement {
  const byAddress = new Map(endpoints.flatMap((e) => e.addresses.map((a) => [formatAddress(a), e])));
  const isOwn = (address: Address) => own.some((one) => sameAddress(one, address));
  const allows = (connection: Connection): boolean => {
    const packet = firstPacket(connection);
    const sender = byAddress.get(formatAddress(packet.source));
    const receiver = isOwn(packet.source) ? undefined : byAddress.get(formatAddress(packet.destination));
    if (sender && sender === receiver) return true; // to itself by way of a Service
    return (
      (!sender || verdict(state, packet, { endpoint: sender.id, direction: "egress" }).verdict === "allow") &&
      (!receiver ||
        verdict(state, packet, { endpoint: receiver.id, direction: "ingress" }).verdict === "allow")
    );
  };
  return sorted(connections, { allows, cutBit });
}

/** Those that are denied and not yet cut, and those that were cut and are allowed. */
export function sorted(
  connections: readonly Connection[],
  { allows, cutBit }: { readonly allows: (connection: Connection) => boolean; readonly cutBit: number },
): Judgement {
  const isCut = ({ mark }: Connection) => (mark & cutBit) !== 0;
  const judged = Map.groupBy(
    connections.filter(({ isRelated }) => !isRelated),
    (connection) => (allows(connection) ? "free" : "cut"),
  );
  return {
    cut: (judged.get("cut") ?? []).filter((connection) => !isCut(connection)),
    free: (judged.get("free") ?? []).filter(isCut),
  };
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
