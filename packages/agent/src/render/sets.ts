import type { NeutralSet } from "@margay/calc";
import type { IpSet } from "@margay/iptables";
import { type Family, formatAddress, formatPrefix, type Prefix, prefixOf, subnets, width } from "@margay/net";
import { changedKeys, Parts } from "@margay/reconcile";
import * as names from "./names.ts";

/** The sets that rules refer to, collected while the rules are rendered: no rule without its set, no set without a rule. */
export class SetRefs {
  /** By the kernel's name: sets of the model, whose members change. */
  readonly #selected = new Map<string, { readonly id: string; readonly family: Family }>();
  readonly #ids = new Set<string>();
  /** By the kernel's name: sets that the rule itself spells out. */
  readonly #fixed = new Map<string, IpSet>();
  readonly #joined = new Map<string, SetRefs>();
  /** What its own were the last time, and of what. */
  #resolved: { readonly known: Sets; readonly sets: ReadonlyMap<string, IpSet> } | undefined;

  /** The kernel's name of a set of the model. */
  selected(id: string, family: Family): string {
    const name = names.sets.selected(id, family);
    this.#selected.set(name, { id, family });
    this.#ids.add(id);
    return name;
  }

  /** The name of a set of networks of one family. */
  nets(nets: readonly Prefix[], family: Family): string {
    const set = netSet(nets, family);
    const name = names.sets.nets(set.members, family);
    this.#fixed.set(name, set);
    return name;
  }

  /** A set with a name of its own. */
  named(name: string, nets: readonly Prefix[], family: Family): string {
    this.#fixed.set(name, netSet(nets, family));
    return name;
  }

  put(name: string, set: IpSet): void {
    this.#fixed.set(name, set);
  }

  include(other: SetRefs): void {
    for (const [name, ref] of other.#selected) this.#selected.set(name, ref);
    for (const id of other.#ids) this.#ids.add(id);
    for (const [name, set] of other.#fixed) this.#fixed.set(name, set);
  }

  /** Those of `other`, which will not change any more, as a part that is kept with it. */
  join(part: string, other: SetRefs): void {
    this.#joined.set(part, other);
  }

  /** What the kernel must hold. A set that the model does not know is empty. */
  resolve(known: Sets): ReadonlyMap<string, IpSet> {
    const joined = [...this.#joined].map(([part, refs]) => [part, refs.#own(known)] as const);
    return new Parts(new Map([["own", this.#own(known)], ...joined]));
  }

  #own(known: Sets): ReadonlyMap<string, IpSet> {
    const last = this.#resolved;
    const isSame = last && !this.#refersToAny(changedSince(last.known, known));
    const sets = isSame ? last.sets : this.#anew(known);
    this.#resolved = { known, sets };
    return sets;
  }

  #refersToAny(changed: ReadonlySet<string>): boolean {
    for (const id of changed) if (this.#ids.has(id)) return true;
    return false;
  }

  #anew(known: Sets): ReadonlyMap<string, IpSet> {
    const sets = new Map(this.#fixed);
    for (const [name, { id, family }] of this.#selected) {
      const set = known.get(id);
      sets.set(name, set ? rendered(set, family) : netSet([], family));
    }
    return sets;
  }
}

type Sets = ReadonlyMap<string, NeutralSet>;

let lastChange: { readonly before: Sets; readonly now: Sets; readonly keys: ReadonlySet<string> } | undefined;

/** All parts ask the same. */
function changedSince(before: Sets, now: Sets): ReadonlySet<string> {
  if (lastChange?.before !== before || lastChange.now !== now)
    lastChange = { before, now, keys: changedKeys(before, now) };
  return lastChange.keys;
}

const kept = new WeakMap<NeutralSet, Partial<Record<Family, IpSet>>>();

/** The same object for the same set: nothing is compared or written for sets that did not change. */
function rendered(set: NeutralSet, family: Family): IpSet {
  const both = kept.get(set) ?? {};
  kept.set(set, both);
  both[family] ??= {
    type: set.kind === "net" ? "hash:net" : "hash:ip,port",
    family,
    members: splitDefault(set.members[family], family),
  };
  return both[family];
}

const netSet = (nets: readonly Prefix[], family: Family): IpSet => ({
  type: "hash:net",
  family,
  members: splitDefault(
    new Set(
      nets
        .filter((net) => net.family === family)
        .map(textOf)
        .sort(),
    ),
    family,
  ),
});

const textOf = (net: Prefix): string =>
  net.length === width(net.family) ? formatAddress(net) : formatPrefix(net);

/** hash:net cannot hold a network of length 0: two halves stand for it. */
function splitDefault(members: ReadonlySet<string>, family: Family): ReadonlySet<string> {
  const all = family === 4 ? "0.0.0.0/0" : "::/0";
  if (!members.has(all)) return members;
  const halves = subnets(prefixOf({ family, bits: 0n }, 0), 1);
  return new Set([...members, ...[...halves].map(formatPrefix)].filter((member) => member !== all));
}
