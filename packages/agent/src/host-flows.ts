import { type Direction, hostVerdict, type NodeState, type Packet } from "@margay/calc";
import type { Address } from "@margay/net";
import type { Connection } from "@margay/netlink";
import { among, firstPacket } from "./connections.ts";

/** The interface that leads to an address; undefined where that is not known. */
export type WayTo = (address: Address) => string | undefined;

interface Case {
  /** Whether an address is the node's own. */
  readonly isOwn: (address: Address) => boolean;
  readonly wayTo: WayTo;
}

/**
 * Whether host endpoints allow a connection: the node's own, or one that it forwards. The kernel does not say by which interface
 * a connection came: it is taken to be the one that leads back, and where none does, any. Nor does it say, of one that it
 * took up in its middle, who began it: the node's own is let be if it is that of a failsafe port in either direction.
 */
export function hostsAllow(state: NodeState, { isOwn, wayTo }: Case): (connection: Connection) => boolean {
  if (state.hostEndpoints.length === 0) return () => true;
  const isWorkloads = among(state.endpoints.flatMap(({ addresses }) => addresses));
  /** What decides at the interface on the side of an address that is not a workload's. */
  const passes = (far: Address, ask: (interfaceName: string) => boolean): boolean => {
    if (isWorkloads(far)) return true;
    const way = wayTo(far);
    return way === undefined ? state.hostEndpoints.some((one) => ask(one.interfaceName)) : ask(way);
  };
  return (connection) => {
    const packet = firstPacket(connection);
    const { source, destination } = packet;
    const ask = (direction: Direction, local: boolean) => (interfaceName: string) => {
      const journey = { interfaceName, direction, local, original: connection.original };
      return (
        hostVerdict(state, packet, journey).verdict === "allow" ||
        (local && isFailsafeAnswer(state, packet, journey))
      );
    };
    if (isOwn(source)) return isOwn(destination) || passes(destination, ask("egress", true));
    if (isOwn(destination)) return passes(source, ask("ingress", true));
    return passes(source, ask("ingress", false)) && passes(destination, ask("egress", false));
  };
}

const REVERSE = { ingress: "egress", egress: "ingress" } as const satisfies Record<Direction, Direction>;

function isFailsafeAnswer(
  state: NodeState,
  packet: Packet,
  { interfaceName, direction }: { readonly interfaceName: string; readonly direction: Direction },
): boolean {
  const back = { interfaceName, direction: REVERSE[direction], local: true };
  const [last] = hostVerdict(state, mirrored(packet), back).steps.slice(-1);
  return last?.rule?.startsWith("failsafe/") ?? false;
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
