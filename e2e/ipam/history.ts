import { contains, parseAddress, parsePrefix } from "@margay/net";

/**
 * What a node's process wrote down, one line each: `time kind handle addresses`. Times are nanoseconds of the machine's
 * monotonic clock, so that the lines of all processes have one order. A line is written before a call and after it; a
 * process that was killed leaves the first alone.
 */
export type Kind =
  /** assign called (`addresses`: these very ones), answered, failed */
  | "assign"
  | "assigned"
  | "assign-failed"
  /** release called, answered, failed */
  | "release"
  | "released"
  | "release-failed"
  /** `handle` is a node: its deletion begun */
  | "delete-node"
  /** `handle` is a node that knows these CIDRs to be reserved, and no others */
  | "reserved";

export interface Line {
  readonly at: bigint;
  readonly kind: Kind;
  readonly handle: string;
  readonly addresses: readonly string[];
}

export const formatLine = ({ at, kind, handle, addresses }: Line): string =>
  `${at} ${kind} ${handle} ${addresses.join(",")}\n`;

/** A line cut off by a kill is no line. */
export function parseLines(text: string): Line[] {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  return whole.split("\n").flatMap((line) => {
    const [at, kind, handle, addresses = ""] = line.split(" ");
    if (!at || !kind || !handle) return [];
    return [{ at: BigInt(at), kind: kind as Kind, handle, addresses: addresses.split(",").filter(Boolean) }];
  });
}

/** What is certain of a handle in the end. */
export type Certain =
  | { readonly kind: "held"; readonly addresses: readonly string[] }
  | { readonly kind: "free" }
  | { readonly kind: "unknown" };

/**
 * Judges a history from outside. An address is certainly held from the answer of `assign` until `release` is called (or
 * the node's deletion begins). If two handles certainly hold one address at one time, no order of the calls explains it:
 * the history is not linearisable. Nor may a handle that certainly holds an address be given another, nor one that certainly has none an
 * address, unasked, that its node knew to be reserved when it was called and when it answered.
 */
export function judge(lines: readonly Line[]): { violations: string[]; end: Map<string, Certain> } {
  const violations: string[] = [];
  const holder = new Map<string, string>();
  const held = new Map<string, readonly string[]>();
  const end = new Map<string, Certain>();
  const reserved = new Map<string, readonly string[]>();
  const forbidden = new Map<string, readonly string[]>();
  const call = ({ handle, addresses }: Line) => {
    const isFree = (end.get(handle) ?? FREE).kind === "free";
    forbidden.set(handle, isFree && addresses.length === 0 ? reservedBy(reserved, handle) : []);
    if (!held.has(handle)) end.set(handle, { kind: "unknown" });
  };
  const letGo = (handle: string) => {
    for (const address of held.get(handle) ?? []) if (holder.get(address) === handle) holder.delete(address);
    held.delete(handle);
    end.set(handle, { kind: "unknown" });
  };
  const take = ({ at, handle, addresses }: Line) => {
    const had = held.get(handle);
    if (had && had.join() !== addresses.join())
      violations.push(`${at}: ${handle} had ${had.join()} and was given ${addresses.join()}`);
    for (const address of addresses) {
      const other = holder.get(address) ?? handle;
      if (other !== handle)
        violations.push(`${at}: ${address} was given to ${handle} while ${other} held it`);
      holder.set(address, handle);
    }
    const still = (forbidden.get(handle) ?? []).filter((cidr) => reservedBy(reserved, handle).includes(cidr));
    for (const address of addresses.filter((one) => isWithin(one, still)))
      violations.push(`${at}: ${handle} was given ${address}, which is reserved`);
    held.set(handle, addresses);
    end.set(handle, { kind: "held", addresses });
  };
  for (const line of lines.toSorted((a, b) => (a.at < b.at ? -1 : 1))) {
    if (line.kind === "assigned") take(line);
    else if (line.kind === "release") letGo(line.handle);
    else if (line.kind === "released") end.set(line.handle, { kind: "free" });
    else if (line.kind === "assign") call(line);
    else if (line.kind === "reserved") reserved.set(line.handle, line.addresses);
    else if (line.kind === "delete-node")
      for (const handle of [...end.keys()].filter((one) => one.startsWith(`${line.handle}.`))) letGo(handle);
  }
  return { violations, end };
}

/** What no line tells of has nothing. */
const FREE: Certain = { kind: "free" };

/** `handle` begins with its node's name. */
const reservedBy = (reserved: ReadonlyMap<string, readonly string[]>, handle: string): readonly string[] =>
  reserved.get(handle.split(".")[0] ?? "") ?? [];

const isWithin = (address: string, cidrs: readonly string[]): boolean =>
  cidrs.some((cidr) => contains(parsePrefix(cidr), parseAddress(address)));
