import type { DaemonContext } from "@margay/daemon";
import type { IpamEvent } from "@margay/ipam";
import { formatAddress } from "@margay/net";

/** Every address freed is told with its reason; a limit is told before it stops a pod. */
export function logIpam(log: DaemonContext["log"], event: IpamEvent): void {
  switch (event.kind) {
    case "freed": {
      const { handle, reason, sequence } = event;
      const address = formatAddress(event.address);
      log.info({ event: "address-freed", address, handle, reason, sequence }, `${address} freed: ${reason}`);
      return;
    }
    case "block-claimed":
    case "block-returned":
      log.info({ event: event.kind, cidr: event.cidr }, `block ${event.cidr} ${event.kind.slice(6)}`);
      return;
    case "near-block-limit": {
      const { owned, limit } = event;
      const text = `${owned} of the ${limit} blocks that maxBlocksPerHost allows this node are claimed`;
      log.warn({ event: "near-block-limit", owned, limit }, text);
    }
  }
}
