import { type Address, contains, formatAddress, type Prefix, parsePrefix } from "@margay/net";
import { oncePer, partsOfSet } from "@margay/reconcile";
import type { CompiledRule, EntityMatch, IcmpMatch, NeutralSet, PortRange } from "./model.ts";

/** The first packet of a flow, as policy sees it. */
export interface Packet {
  readonly source: Address;
  readonly destination: Address;
  /** IANA protocol number. */
  readonly protocol: number;
  /** Only with a protocol that has ports. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
}

export type Sets = ReadonlyMap<string, NeutralSet>;

/** Names of the protocols that a set of named ports can hold, by number; as ipset writes them. */
export const PORT_PROTOCOLS: Readonly<Record<number, string>> = {
  6: "tcp",
  17: "udp",
  132: "sctp",
  136: "udplite",
};

/** Whether a rule matches: naively, field by field, in the order in which they are declared. */
export function matches(rule: CompiledRule, packet: Packet, sets: Sets): boolean {
  const { source, destination, protocol } = packet;
  if (rule.ipVersion !== undefined && rule.ipVersion !== source.family) return false;
  if (rule.protocol !== undefined && rule.protocol !== protocol) return false;
  if (rule.notProtocol !== undefined && rule.notProtocol === protocol) return false;
  if (rule.icmp && !matchesIcmp(rule.icmp, packet)) return false;
  if (rule.notIcmp && matchesIcmp(rule.notIcmp, packet)) return false;
  const from: End = { address: source, protocol, port: packet.sourcePort };
  const to: End = { address: destination, protocol, port: packet.destinationPort };
  return matchesEnd(rule.source, from, sets) && matchesEnd(rule.destination, to, sets);
}

/** One end of the packet. */
interface End {
  readonly address: Address;
  readonly protocol: number;
  readonly port: number | undefined;
}

const matchesIcmp = (match: IcmpMatch, { icmp }: Packet): boolean =>
  icmp !== undefined && icmp.type === match.type && (match.code === undefined || icmp.code === match.code);

function matchesEnd(match: EntityMatch, end: End, sets: Sets): boolean {
  const { address } = end;
  if (match.nets.length > 0 && !match.nets.some((net) => contains(net, address))) return false;
  if (match.notNets.some((net) => contains(net, address))) return false;
  if (!match.sets.every((set) => holdsAddress(sets.get(set), address))) return false;
  if (match.notSets.some((set) => holdsAddress(sets.get(set), address))) return false;
  return matchesPorts(match, end, sets);
}

function matchesPorts(match: EntityMatch, end: End, sets: Sets): boolean {
  const isNamed = (set: string) => holdsPort(sets.get(set), end);
  const isAny = match.ports.length === 0 && match.namedPorts.length === 0;
  if (!isAny && !inRanges(match.ports, end.port) && !match.namedPorts.some(isNamed)) return false;
  return !inRanges(match.notPorts, end.port) && !match.notNamedPorts.some(isNamed);
}

const inRanges = (ranges: readonly PortRange[], port: number | undefined): boolean =>
  port !== undefined && ranges.some(({ first, last }) => port >= first && port <= last);

function holdsPort(set: NeutralSet | undefined, { address, protocol, port }: End): boolean {
  const name = PORT_PROTOCOLS[protocol];
  if (!set || name === undefined || port === undefined) return false;
  return set.members[address.family].has(`${formatAddress(address)},${name}:${port}`);
}

/** Whether a `net` set holds the address itself or a network around it. */
export function holdsAddress(set: NeutralSet | undefined, address: Address): boolean {
  if (!set) return false;
  if (set.members[address.family].has(formatAddress(address))) return true;
  return networksOf(set).some((net) => contains(net, address));
}

/** The members that are networks and not hosts: few, so that a packet is compared with these alone. */
const networksOf = oncePer((set: NeutralSet): readonly Prefix[] =>
  ([4, 6] as const).flatMap((family) => [...partsOfSet(set.members[family]).values()].flatMap(networksIn)),
);

const networksIn = oncePer((part: ReadonlySet<string>): readonly Prefix[] =>
  [...part].filter((text) => text.includes("/")).map((text) => parsePrefix(text)),
);
