/**
 * What a node's process wrote down, one line each: `time kind handle addresses`. Times are nanoseconds of the machine's
 * monotonic clock, so that the lines of all processes have one order. A line is written before a call and after it; a
 * process that was killed leaves the first alone.
 */
export type Kind =
  /** assign called, answered, failed */
  | "assign"
  | "assigned"
  | "assign-failed"
  /** release called, answered, failed */
  | "release"
  | "released"
  | "release-failed"
  /** `handle` is a node: its deletion begun */
  | "delete-node";

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
 * the history is not linearisable. Nor may a handle that certainly holds an address be given another.
 */
export function judge(lines: readonly Line[]): { violations: string[]; end: Map<string, Certain> } {
  const violations: string[] = [];
  const holder = new Map<string, string>();
  const held = new Map<string, readonly string[]>();
  const end = new Map<string, Certain>();
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
    held.set(handle, addresses);
    end.set(handle, { kind: "held", addresses });
  };
  for (const line of lines.toSorted((a, b) => (a.at < b.at ? -1 : 1))) {
    if (line.kind === "assigned") take(line);
    else if (line.kind === "release") letGo(line.handle);
    else if (line.kind === "released") end.set(line.handle, { kind: "free" });
    else if (line.kind === "assign" && !held.has(line.handle)) end.set(line.handle, { kind: "unknown" });
    else if (line.kind === "delete-node")
      for (const handle of [...end.keys()].filter((one) => one.startsWith(`${line.handle}.`))) letGo(handle);
  }
  return { violations, end };
}
