import { type Direction, hostVerdict, type NodeState, type Packet } from "@margay/calc";
import { type Address, formatAddress } from "@margay/net";
import type { Connection } from "@margay/netlink";
import { firstPacket, type Judgement, sorted } from "./flows.ts";

interface Case {
  readonly connections: readonly Connection[];
  /** Addresses of the node itself. */
  readonly own: readonly Address[];
  /** Mark bit of those cut. */
  readonly cutBit: number;
}

/**
 * Judges connections of the node itself by its host endpoints. The kernel does not say by which interface a connection goes,
 * nor, of one that it took up in its middle, who began it. So one is cut only if every host endpoint denies it, before
 * destination NAT and after, and if it is that of no failsafe port in either direction.
 */
export function judgeHosts(state: NodeState, { connections, own, cutBit }: Case): Judgement {
  const isOwn = has(own);
  const isWorkloads = has(state.endpoints.flatMap(({ addresses }) => addresses));
  const concerned = connections.filter((connection) => {
    const { source, destination } = firstPacket(connection);
    return isOwn(source) !== isOwn(destination) && !isWorkloads(source) && !isWorkloads(destination);
  });
  const allows = (connection: Connection): boolean => {
    const direction = isOwn(connection.original.source) ? "egress" : "ingress";
    const packets = [firstPacket(connection), connection.original];
    return packets.some((packet) => mayPass(state, packet, direction));
  };
  return sorted(concerned, { allows, cutBit });
}

function has(addresses: readonly Address[]): (address: Address) => boolean {
  const texts = new Set(addresses.map(formatAddress));
  return (address) => texts.has(formatAddress(address));
}

const REVERSE = { ingress: "egress", egress: "ingress" } as const satisfies Record<Direction, Direction>;

function mayPass(state: NodeState, packet: Packet, direction: Direction): boolean {
  return state.hostEndpoints.some(({ interfaceName }) => {
    const ask = (one: Packet, way: Direction) =>
      hostVerdict(state, one, { interfaceName, direction: way, local: true });
    if (ask(packet, direction).verdict === "allow") return true;
    return ask(mirrored(packet), REVERSE[direction]).steps.at(-1)?.rule?.startsWith("failsafe/") ?? false;
  });
}

/** An answer to the packet. */
function mirrored({ source, destination, sourcePort, destinationPort, ...packet }: Packet): Packet {
  return {
    ...packet,
    ...{ source: destination, destination: source },
    ...(destinationPort !== undefined && { sourcePort: destinationPort }),
    ...(sourcePort !== undefined && { destinationPort: sourcePort }),
  };
}
