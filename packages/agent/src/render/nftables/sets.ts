import type { IpSet } from "@margay/iptables";
import type { NftSet } from "@margay/nftables";
import { protocolNumber } from "./words.ts";

const networks = new WeakMap<IpSet, boolean>();

/** Whether a hash of addresses will not do. */
export function hasNetworks(set: IpSet): boolean {
  const known = networks.get(set);
  if (known !== undefined) return known;
  const found = set.type === "hash:net" && [...set.members].some((member) => member.includes("/"));
  networks.set(set, found);
  return found;
}

const translated = new WeakMap<IpSet, NftSet>();

/** The same object for the same set. */
export function translateSet(set: IpSet): NftSet {
  const known = translated.get(set) ?? anew(set);
  translated.set(set, known);
  return known;
}

function anew(set: IpSet): NftSet {
  const { family, members } = set;
  if (set.type !== "hash:ip,port") {
    const interval = hasNetworks(set);
    return { kind: "set", family, fields: ["saddr"], members, ...(interval && { interval }) };
  }
  return {
    ...{ kind: "set", family, fields: ["saddr", "protocol", "sport"] },
    members: new Set([...members].map(portMember)),
  };
}

/** `10.0.0.1,tcp:80` */
function portMember(member: string): string {
  const [address = "", service = ""] = member.split(",");
  const [protocol = "", port = ""] = service.split(":");
  return `${address} . ${protocolNumber(protocol)} . ${port}`;
}

const KEPT_AT_MOST = 10_000;
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
