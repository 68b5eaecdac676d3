import { type Address, contains, formatAddress, parseAddress, sameAddress } from "@margay/net";
import type { Packet } from "./match.ts";
import type { NodeState } from "./state.ts";
import type { Survey } from "./survey.ts";

/** The source that a packet gets; absent: it keeps its own. */
export interface Translation {
  readonly becomes?: Address;
  readonly text: string;
}

/**
 * NAT outgoing of a packet that a pod sends off its node: from a pool with `natOutgoing` to an address outside all pools
 * (calico.md §1.2). agent/render/host writes the same conditions as rules.
 */
export function natOutgoing(
  { source, destination }: Packet,
  { pools }: Survey,
  { node, config, hosts, endpoints }: NodeState,
): Translation {
  const poolOf = (address: Address) => pools.find(({ cidr }) => contains(cidr, address));
  const [own, other] = [poolOf(source), poolOf(destination)];
  const isNode = hosts.some(({ addresses }) => addresses.some((a) => sameAddress(a, destination)));
  const floating = endpoints
    .flatMap(({ floating: its = [] }) => its)
    .find(({ internal }) => sameAddress(internal, source));
  if (floating && !other)
    return {
      becomes: floating.external,
      text: `the source becomes ${formatAddress(floating.external)}: its floating address`,
    };
  if (!own) return { text: `none: ${formatAddress(source)} lies in no pool` };
  if (!own.natOutgoing) return { text: `none: pool ${own.name} has no natOutgoing` };
  if (other) return { text: `none: ${formatAddress(destination)} lies in pool ${other.name}` };
  if (isNode && config.natOutgoingExclusions === "IPPoolsAndHostIPs")
    return { text: "none: nodes are excluded (natOutgoingExclusions)" };
  const fixed = source.family === 4 ? config.natOutgoingAddress : undefined;
  const masquerade = hosts
    .find(({ name }) => name === node)
    ?.addresses.find(({ family }) => family === source.family);
  const becomes = fixed === undefined ? masquerade : parseAddress(fixed);
  const filter = config.natOutgoingInterfaceFilter;
  const only = filter === undefined ? "" : `, if it leaves by ${filter}`;
  const name = becomes ? formatAddress(becomes) : `an address of ${node}`;
  const text = `the source becomes ${name}${only}: natOutgoing of pool ${own.name}`;
  return becomes ? { becomes, text } : { text };
}
