import { canonical, type Labels, type Selector, selectorId } from "@margay/api";
import type { Family } from "@margay/net";
import type { NeutralSet } from "./model.ts";
import { SelectorIndex } from "./selector-index.ts";

/** What a set stands for: the addresses of what `selector` selects, or one named port of it. */
export interface SetSpec {
  readonly selector: Selector;
  /** `protocol` is ipset's word for it: tcp, udp, sctp. */
  readonly port?: { readonly name: string; readonly protocol: string };
}

/** The name of a set: the same wherever the same thing is meant, so that policies share it. */
export const setId = ({ selector, port }: SetSpec): string =>
  port ? `p:${selectorId(selector)}:${port.protocol}:${port.name}` : `s:${selectorId(selector)}`;

/** What one endpoint or network set adds to the sets it is selected for. */
export interface Contribution {
  /** Member texts by family: addresses, or networks of a network set. */
  readonly members: Readonly<Record<Family, readonly string[]>>;
  /** Named ports; several may bear one name. */
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

interface ActiveSet {
  readonly spec: SetSpec;
  users: number;
  /** How many items contribute each member: two pods may claim one address for a moment. */
  readonly counts: Readonly<Record<Family, Map<string, number>>>;
  /** The value handed out; undefined once it is out of date. */
  snapshot: NeutralSet | undefined;
}

/** The sets that rules in use here refer to, with their cluster-wide members, kept up to date member by member. */
export class ActiveSets {
  readonly #sets = new Map<string, ActiveSet>();
  readonly #items = new Map<string, Contribution>();
  readonly #index = new SelectorIndex({
    matched: (set, item) => this.#contribute(set, item, 1),
    unmatched: (set, item) => this.#contribute(set, item, -1),
  });
  #snapshot: ReadonlyMap<string, NeutralSet> | undefined;

  /** Adds or changes an endpoint or network set. */
  setItem(id: string, labels: Labels, contribution: Contribution): void {
    const old = this.#items.get(id);
    if (old && !sameContribution(old, contribution)) this.deleteItem(id);
    this.#items.set(id, contribution);
    this.#index.setItem(id, labels);
  }

  deleteItem(id: string): void {
    this.#index.deleteItem(id);
    this.#items.delete(id);
  }

  /** One more rule set uses this set. */
  retain(id: string, spec: SetSpec): void {
    const known = this.#sets.get(id);
    if (known) {
      known.users++;
      return;
    }
    this.#sets.set(id, { spec, users: 1, counts: { 4: new Map(), 6: new Map() }, snapshot: undefined });
    this.#snapshot = undefined;
    this.#index.addSelector(id, spec.selector);
  }

  /** One fewer uses it; the last one takes it away. */
  release(id: string): void {
    const set = this.#sets.get(id);
    if (!set || --set.users > 0) return;
    this.#sets.delete(id);
    this.#index.deleteSelector(id);
    this.#snapshot = undefined;
  }

  /** All sets by id. A set, and the whole, is the same object until it changes. */
  snapshot(): ReadonlyMap<string, NeutralSet> {
    this.#snapshot ??= new Map([...this.#sets].map(([id, set]) => [id, snapshotOf(set)]));
    return this.#snapshot;
  }

  #contribute(setId: string, itemId: string, by: 1 | -1): void {
    const set = this.#sets.get(setId);
    const item = this.#items.get(itemId);
    if (!set || !item) return;
    for (const family of [4, 6] as const)
      for (const member of membersOf(set.spec, item, family)) {
        const counts = set.counts[family];
        const count = (counts.get(member) ?? 0) + by;
        if (count > 0) counts.set(member, count);
        else counts.delete(member);
        if (count !== (by === 1 ? 1 : 0)) continue;
        set.snapshot = undefined;
        this.#snapshot = undefined;
      }
  }
}

function membersOf({ port }: SetSpec, item: Contribution, family: Family): readonly string[] {
  if (!port) return item.members[family];
  const ports = item.ports.filter(({ name, protocol }) => name === port.name && protocol === port.protocol);
  return ports.flatMap((p) => item.members[family].map((address) => `${address},${p.protocol}:${p.port}`));
}

function snapshotOf(set: ActiveSet): NeutralSet {
  set.snapshot ??= neutral(set);
  return set.snapshot;
}

const neutral = ({ spec, counts }: ActiveSet): NeutralSet => ({
  kind: spec.port ? "ip-port" : "net",
  about: spec.port ? `port ${spec.port.name} of ${canonical(spec.selector)}` : canonical(spec.selector),
  members: { 4: new Set(counts[4].keys()), 6: new Set(counts[6].keys()) },
});

const sameContribution = (a: Contribution, b: Contribution): boolean =>
  sameTexts(a.members[4], b.members[4]) &&
  sameTexts(a.members[6], b.members[6]) &&
  sameTexts(a.ports.map(portText), b.ports.map(portText));

const portText = ({ name, protocol, port }: Contribution["ports"][number]): string =>
  `${name}/${protocol}/${port}`;

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i]);
