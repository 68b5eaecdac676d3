import { type Enforced, type LocalEndpoint, type NodeState, verdict } from "@margay/calc";
import { type Address, formatAddress } from "@margay/net";
import type { Connection } from "@margay/netlink";
import { among, firstPacket } from "./connections.ts";
import { hostsAllow, type WayTo } from "./host-flows.ts";

/** What to do with connections whose endpoints' policies changed. */
export interface Judgement {
  /** Let through until now, and denied by now. */
  readonly cut: readonly Connection[];
  /** Cut before, and allowed by now: forgotten, so that they can begin anew. */
  readonly free: readonly Connection[];
}

export interface Case {
  readonly connections: readonly Connection[];
  /** The workloads whose word may cut. */
  readonly endpoints: readonly LocalEndpoint[];
  /** Whether that of host endpoints may. */
  readonly byHosts: boolean;
  /** Addresses of the node itself: it always reaches its own workloads. */
  readonly own: readonly Address[];
  readonly wayTo: WayTo;
  /** Mark bit of those cut. */
  readonly cutBit: number;
}

/**
 * Judges connections as their first packets would be judged now. One is set free only when nobody denies it, also of those that did not
 * change. Connections that came about as part of another one, such as FTP's transfers, are left alone: no rule names them.
 */
export function judge(
  state: NodeState,
  { connections, endpoints, byHosts, own, wayTo, cutBit }: Case,
): Judgement {
  const isOwn = among(own);
  const changed = workloadsAllow(state, { endpoints, isOwn });
  const all = workloadsAllow(state, { endpoints: state.endpoints, isOwn });
  const hosts = hostsAllow(state, { isOwn, wayTo });
  const isCut = ({ mark }: Connection) => (mark & cutBit) !== 0;
  const judged = connections.filter(({ isRelated }) => !isRelated);
  return {
    cut: judged.filter((one) => !isCut(one) && !(changed(one) && (!byHosts || hosts(one)))),
    free: judged.filter((one) => isCut(one) && all(one) && hosts(one)),
  };
}

function workloadsAllow(
  state: Enforced,
  { endpoints, isOwn }: Pick<Case, "endpoints"> & { readonly isOwn: (address: Address) => boolean },
): (connection: Connection) => boolean {
  const byAddress = new Map(endpoints.flatMap((e) => e.addresses.map((a) => [formatAddress(a), e])));
  return (connection) => {
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
}
