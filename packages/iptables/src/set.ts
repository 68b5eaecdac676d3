import {
  type Family,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
  subnets,
  width,
} from "@margay/net";
import { partsOfSet, sameMembers } from "@margay/reconcile";
import { IptablesError } from "./error.ts";

/** A named set of addresses; its key is its name in the kernel (at most 31 characters). */
export interface IpSet {
  readonly type: "hash:ip" | "hash:net" | "hash:ip,port" | "hash:net,iface" | "hash:ip,mac";
  readonly family: Family;
  /** `10.0.0.1`, `10.0.0.0/24`, `10.0.0.1,tcp:80`, `10.0.0.1,eth0` or `10.0.0.1,02:00:00:00:00:01`. */
  readonly members: ReadonlySet<string>;
}

/** A set as the kernel holds it, members in its own spelling, and its capacity. */
export interface SavedSet extends IpSet {
  readonly maxElements: number;
}

/**
 * The members in the kernel's spelling (those in `spelled` already are): a host without its length, the whole
 * address space, which hash:net cannot hold, as its two halves, and without 0.0.0.0 and ::, which only hash:net can hold. The same object if they are spelled so.
 * IptablesError `invalid` names the member that is none.
 */
export function canonicalMembers(set: IpSet, spelled: ReadonlySet<string> = new Set()): ReadonlySet<string> {
  const { members } = set;
  if ([...partsOfSet(members).values()].every((part) => isCanonical(part, set))) return members;
  return new Set([...members].flatMap((member) => (spelled.has(member) ? member : spellings(member, set))));
}

/** Parts of which all members are spelled as the kernel does, in sets of a type and family. */
const canonicalParts = new WeakMap<ReadonlySet<string>, string>();

function isCanonical(part: ReadonlySet<string>, set: IpSet): boolean {
  const of = `${set.type} ${set.family}`;
  if (canonicalParts.get(part) === of) return true;
  for (const member of part) {
    const [first, ...others] = spellings(member, set);
    if (first !== member || others.length > 0) return false;
  }
  canonicalParts.set(part, of);
  return true;
}

function spellings(member: string, { type, family }: IpSet): string[] {
  try {
    return canonical(type, family, member);
  } catch (cause) {
    const reason = `${JSON.stringify(member)} is no IPv${family} member of a ${type} set`;
    throw Object.assign(new IptablesError("invalid", { tool: "ipset", reason }), { cause });
  }
}

function canonical(type: IpSet["type"], family: Family, member: string): string[] {
  if (type === "hash:net") return nets(family, parsePrefix(member, { mask: true }));
  const [host = "", port] = member.split(",");
  const address = parseAddress(host);
  if (address.family !== family) throw new RangeError("wrong family");
  if (address.bits === 0n) return []; // of these types none can hold it, and nobody has it
  if (type === "hash:ip")
    return port === undefined ? [formatAddress(address)] : refuse("port in a set of addresses");
  if (type === "hash:net,iface") return [`${formatAddress(address)},${port ?? refuse("no interface")}`];
  if (type === "hash:ip,mac")
    return [`${formatAddress(address)},${(port ?? refuse("no MAC")).toUpperCase()}`];
  const [, protocol = "tcp", number = ""] =
    /^(?:([a-z0-9-]+):)?(\d{1,5})$/.exec(port ?? "") ?? refuse("no port");
  if (Number(number) > 65535) refuse("no port");
  return [`${formatAddress(address)},${protocol}:${Number(number)}`];
}

function nets(family: Family, prefix: Prefix): string[] {
  if (prefix.family !== family) return refuse("wrong family");
  if (prefix.length === width(family)) return [formatAddress(prefix)];
  return prefix.length > 0 ? [formatPrefix(prefix)] : [...subnets(prefix, 1)].map(formatPrefix);
}

function refuse(why: string): never {
  throw new RangeError(why);
}

/** Whether a set read back holds what is wanted. Cheap when the members are spelled as the kernel does. */
export function sameSet(actual: IpSet, wanted: IpSet): boolean {
  if (actual === wanted) return true;
  if (actual.type !== wanted.type || actual.family !== wanted.family) return false;
  return (
    sameMembers(actual.members, wanted.members) ||
    sameMembers(actual.members, canonicalMembers(wanted, actual.members))
  );
}

/** Reads the output of `ipset save`: the sets whose names begin with the prefix and whose types are ours. */
export function parseSets(text: string, prefix: string): Map<string, SavedSet> {
  const sets = new Map<string, SavedSet & { readonly members: Set<string> }>();
  for (const line of text.split("\n")) {
    const [verb, name = "", value = "", ...options] = line.split(" ");
    if (!name.startsWith(prefix)) continue;
    if (verb === "create") sets.set(name, created(value, options));
    else if (verb === "add") sets.get(name)?.members.add(respell(value));
  }
  return sets;
}

function created(type: string, options: readonly string[]): SavedSet & { readonly members: Set<string> } {
  const option = (name: string) => options[options.indexOf(name) + 1];
  return {
    type: type as IpSet["type"], // a foreign type under our prefix: never the same as a wanted one, so replaced or removed
    family: option("family") === "inet6" ? 6 : 4,
    members: new Set(),
    maxElements: Number(option("maxelem")),
  };
}

/** ipset prints some IPv6 addresses with a dotted quad; we never do. */
function respell(member: string): string {
  if (!member.includes(":") || !/\d\.\d/.test(member) || /^\d+\./.test(member)) return member;
  const [, host = "", rest = ""] = /^([0-9a-f:.]+)(.*)$/.exec(member) ?? [];
  return `${formatAddress(parseAddress(host))}${rest}`;
}
