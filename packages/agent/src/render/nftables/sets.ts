import type { IpSet } from "@margay/iptables";
import type { NftSet } from "@margay/nftables";
import { oncePer, PartedSet, partsOfSet, sameMembers } from "@margay/reconcile";
import { NETWORKS, setName } from "./names.ts";
import { protocolNumber } from "./words.ts";

/**
 * What a set of the renderer holds. Addresses are in a hash, also with ports, interfaces or MACs; networks are intervals, which cost more to
 * change and to ask.
 */
export type SetKind = "addresses" | "networks" | "both" | "interfaces" | "macs";

/** By name; of those that are not there it holds addresses. */
export type SetKinds = ReadonlyMap<string, SetKind>;

/** Sets may be large, and change often: only parts that changed are walked through. */
const networksInPart = oncePer((part: ReadonlySet<string>): ReadonlySet<string> => {
  const found = [...part].filter((member) => member.includes("/"));
  return found.length > 0 ? new Set(found) : NONE;
});

const NONE: ReadonlySet<string> = new Set();

const networksIn = oncePer(({ type, members }: IpSet): ReadonlySet<string> => {
  const found = new Set<string>();
  if (type === "hash:net")
    for (const part of partsOfSet(members).values())
      for (const network of networksInPart(part)) found.add(network);
  return found;
});

export function kindOf(set: IpSet): SetKind {
  if (set.type === "hash:net,iface") return "interfaces";
  if (set.type === "hash:ip,mac") return "macs";
  const { size } = networksIn(set);
  return size === 0 ? "addresses" : size === set.members.size ? "networks" : "both";
}

/** By name; the same objects for the same set, and for the same networks beside other addresses. */
export function translateSet(name: string, set: IpSet): readonly (readonly [string, NftSet])[] {
  const kind = kindOf(set);
  return [
    ...(kind === "networks" ? [] : [[setName(name), addressesOf(set)] as const]),
    ...(kind === "networks" || kind === "both"
      ? [[setName(name) + NETWORKS, networksOf(name, set)] as const]
      : []),
  ];
}

const addressesOf = oncePer((set: IpSet): NftSet => {
  const { family, type, members } = set;
  if (type === "hash:ip,port")
    return {
      ...{ kind: "set", family, fields: ["saddr", "protocol", "sport"] },
      members: byPart(members, portMembers),
    };
  if (type === "hash:net,iface")
    return { kind: "set", family, fields: ["saddr", "iifname"], members: byPart(members, joined) };
  if (type === "hash:ip,mac")
    return { kind: "set", family, fields: ["saddr", "ether saddr"], members: byPart(members, joined) };
  const own = networksIn(set).size > 0 ? byPart(members, addressesInPart) : members;
  return { kind: "set", family, fields: ["saddr"], members: own };
});

const byPart = (
  members: ReadonlySet<string>,
  make: (part: ReadonlySet<string>) => ReadonlySet<string>,
): ReadonlySet<string> => (members instanceof PartedSet ? members.byPart(make) : make(members));

/** `10.0.0.1,cali1` */
const joined = oncePer(
  (part: ReadonlySet<string>) => new Set([...part].map((member) => member.replace(",", " . "))),
);

const addressesInPart = oncePer((part: ReadonlySet<string>): ReadonlySet<string> => {
  const networks = networksInPart(part);
  return networks.size > 0 ? new Set([...part].filter((member) => !networks.has(member))) : part;
});

const KEPT_AT_MOST = 10_000;
const lastNetworks = new Map<string, NftSet>();

function networksOf(name: string, set: IpSet): NftSet {
  const own = networksIn(set);
  if (lastNetworks.size > KEPT_AT_MOST) lastNetworks.clear();
  const last = lastNetworks.get(name);
  if (last && sameMembers(last.members, own)) return last;
  const made: NftSet = { kind: "set", family: set.family, fields: ["saddr"], members: own, interval: true };
  lastNetworks.set(name, made);
  return made;
}

const portMembers = oncePer((part: ReadonlySet<string>) => new Set([...part].map(portMember)));

/** `10.0.0.1,tcp:80` */
function portMember(member: string): string {
  const [address = "", service = ""] = member.split(",");
  const [protocol = "", port = ""] = service.split(":");
  return `${address} . ${protocolNumber(protocol)} . ${port}`;
}

const portSets = new Map<string, NftSet>();

/** `80,443,8000:8080`; the same object for the same list, which many chains name. */
export function portSet(list: string, family: 4 | 6): NftSet {
  if (portSets.size > KEPT_AT_MOST) portSets.clear();
  const key = `${family} ${list}`;
  const set = portSets.get(key) ?? ports(list, family);
  portSets.set(key, set);
  return set;
}

const ports = (list: string, family: 4 | 6): NftSet => ({
  ...{ kind: "set", family, fields: ["dport"], interval: true },
  members: new Set(list.split(",").map((range) => range.replace(":", "-"))),
});
