import type { IpSet } from "@margay/iptables";
import type { NftSet } from "@margay/nftables";
import { oncePer } from "@margay/reconcile";
import { NETWORKS, setName } from "./names.ts";
import { protocolNumber } from "./words.ts";

/** What a set of the renderer holds. Addresses are in a hash; networks are intervals, which cost more to change and to ask. */
export type SetKind = "addresses" | "networks" | "both";

/** By name; of those that are not there it holds addresses. */
export type SetKinds = ReadonlyMap<string, SetKind>;

/** In one walk: sets may be large, and change often. */
const networksIn = oncePer(({ type, members }: IpSet): ReadonlySet<string> => {
  const found = new Set<string>();
  if (type === "hash:net") for (const member of members) if (member.includes("/")) found.add(member);
  return found;
});

export function kindOf(set: IpSet): SetKind {
  const { size } = networksIn(set);
  return size === 0 ? "addresses" : size === set.members.size ? "networks" : "both";
}

/** By name; the same objects for the same set, and for the same networks beside other addresses. */
export function translateSet(name: string, set: IpSet): readonly (readonly [string, NftSet])[] {
  const kind = kindOf(set);
  return [
    ...(kind === "networks" ? [] : [[setName(name), addressesOf(set)] as const]),
    ...(kind === "addresses" ? [] : [[setName(name) + NETWORKS, networksOf(name, set)] as const]),
  ];
}

const addressesOf = oncePer((set: IpSet): NftSet => {
  const { family, type, members } = set;
  if (type === "hash:ip,port")
    return {
      ...{ kind: "set", family, fields: ["saddr", "protocol", "sport"] },
      members: new Set([...members].map(portMember)),
    };
  const networks = networksIn(set);
  if (networks.size === 0) return { kind: "set", family, fields: ["saddr"], members };
  const own = new Set(members); // copied as a whole, which is less than to fill it
  for (const network of networks) own.delete(network);
  return { kind: "set", family, fields: ["saddr"], members: own };
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

const sameMembers = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((member) => b.has(member));

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
