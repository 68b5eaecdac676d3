import type { Labels, Selector } from "@margay/api";
import type { Family } from "@margay/net";
import { Bucketed, PartedSet } from "@margay/reconcile";
import { certainty, type Doubt } from "./doubt.ts";
import type { NeutralSet } from "./model.ts";
import { SelectorIndex } from "./selector-index.ts";
import { type Among, about, type SetSpec } from "./set-spec.ts";

/** What one endpoint or network set adds to the sets it is selected for. */
export interface Contribution {
  /** To sets of these; endpoints if absent. */
  readonly among?: Among;
  /** Addresses and networks of either family, in canonical text; an address may be a /32 or /128. */
  readonly nets: readonly string[];
  /** Named ports; several may bear one name. */
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

interface ActiveSet {
  readonly spec: SetSpec;
  users: number;
  /** As last handed out, and what came (true) and went since. */
  readonly members: Record<Family, PartedSet>;
  readonly edits: Readonly<Record<Family, Map<string, boolean>>>;
  /** How many more items contribute a member: two pods may claim one address for a moment. */
  readonly more: Map<string, number>;
  /** The value handed out; undefined once it is out of date. */
  snapshot: NeutralSet | undefined;
  /** What of `ActiveSets.doubts` may belong to it. */
  doubted?: { readonly among: readonly Doubt[]; readonly by: string | undefined };
}

/** The sets that rules in use here refer to, with their cluster-wide members, kept up to date member by member. */
export class ActiveSets {
  readonly #sets = new Map<string, ActiveSet>();
  readonly #items = new Map<string, Contribution>();
  readonly #indexes: Readonly<Record<Among, SelectorIndex>>;
  /** Those among domains, by id. */
  readonly #domains = new Map<string, Selector>();
  #doubts: readonly Doubt[] = [];
  #snapshot = Bucketed.empty<NeutralSet>();
  /** Since the last snapshot. */
  readonly #changed = new Set<string>();

  constructor() {
    const listener = {
      matched: (set: string, item: string) => this.#contribute(set, item, 1),
      unmatched: (set: string, item: string) => this.#contribute(set, item, -1),
    };
    const index = () => new SelectorIndex(listener);
    this.#indexes = {
      endpoints: index(),
      local: index(),
      services: index(),
      nodes: index(),
      domains: index(),
    };
  }

  /** What is there and cannot be read: the same array as long as nothing changes. */
  get doubts(): readonly Doubt[] {
    return this.#doubts;
  }

  set doubts(doubts: readonly Doubt[]) {
    if (JSON.stringify(doubts) !== JSON.stringify(this.#doubts)) this.#doubts = doubts;
  }

  /** Why it cannot be said who is in a set, if so. */
  doubtOf(id: string): string | undefined {
    const set = this.#sets.get(id);
    if (!set || this.#doubts.length === 0) return undefined;
    if (set.doubted?.among !== this.#doubts) {
      const doubt = this.#doubts.find((one) => mayHold(set.spec, one));
      const by = doubt && `${doubt.subject} cannot be read, and may be meant by ${about(set.spec)}`;
      set.doubted = { among: this.#doubts, by };
    }
    return set.doubted.by;
  }

  /** Of the sets among domains that are in use, what they mean. */
  get domains(): ReadonlyMap<string, Selector> {
    return this.#domains;
  }

  /** Adds or changes an endpoint, network set, slice, node or domain. */
  setItem(id: string, labels: Labels, contribution: Contribution): void {
    const old = this.#items.get(id);
    if (old && !sameContribution(old, contribution)) this.deleteItem(id);
    this.#items.set(id, contribution);
    this.#indexOf(contribution).setItem(id, labels);
  }

  deleteItem(id: string): void {
    this.#indexOf(this.#items.get(id)).deleteItem(id);
    this.#items.delete(id);
  }

  /** One more rule set uses this set. */
  retain(id: string, spec: SetSpec): void {
    const known = this.#sets.get(id);
    if (known) {
      known.users++;
      return;
    }
    this.#sets.set(id, {
      ...{ spec, users: 1, snapshot: undefined },
      ...{ members: { 4: PartedSet.empty, 6: PartedSet.empty }, edits: { 4: new Map(), 6: new Map() } },
      more: new Map(),
    });
    this.#changed.add(id);
    if (spec.among === "domains") this.#domains.set(id, spec.selector);
    this.#indexOf(spec).addSelector(id, spec.selector);
  }

  /** One fewer uses it; the last one takes it away. */
  release(id: string): void {
    const set = this.#sets.get(id);
    if (!set || --set.users > 0) return;
    this.#sets.delete(id);
    this.#domains.delete(id);
    this.#indexOf(set.spec).deleteSelector(id);
    this.#changed.add(id);
  }

  /** All sets by id. A set, and the whole, is the same object until it changes. */
  snapshot(): ReadonlyMap<string, NeutralSet> {
    const current = (id: string): NeutralSet | undefined => {
      const set = this.#sets.get(id);
      return set && snapshotOf(set);
    };
    this.#snapshot = this.#snapshot.edited([...this.#changed].map((id) => [id, current(id)] as const));
    this.#changed.clear();
    return this.#snapshot;
  }

  #indexOf(of: { readonly among?: Among } | undefined): SelectorIndex {
    return this.#indexes[of?.among ?? "endpoints"];
  }

  #contribute(setId: string, itemId: string, by: 1 | -1): void {
    const set = this.#sets.get(setId);
    const item = this.#items.get(itemId);
    if (!set || !item) return;
    for (const family of [4, 6] as const)
      for (const member of membersOf(set.spec, item, family))
        if (by === 1 ? isFirst(set, family, member) : isLast(set, member)) {
          this.#changed.add(setId);
          change(set, family, member);
        }
  }
}

const holds = ({ members, edits }: ActiveSet, family: Family, member: string): boolean =>
  edits[family].get(member) ?? members[family].has(member);

/** Adds a member, or removes it if it is there. */
function change(set: ActiveSet, family: Family, member: string): void {
  set.snapshot = undefined;
  set.edits[family].set(member, !holds(set, family, member));
}

/** Whether nobody contributes it yet. */
function isFirst(set: ActiveSet, family: Family, member: string): boolean {
  if (!holds(set, family, member)) return true;
  set.more.set(member, (set.more.get(member) ?? 0) + 1);
  return false;
}

/** Whether nobody else contributes it. */
function isLast({ more }: ActiveSet, member: string): boolean {
  const others = more.get(member) ?? 0;
  if (others > 1) more.set(member, others - 1);
  else more.delete(member);
  return others === 0;
}

/** Whether what is in doubt may be in a set. */
function mayHold({ among = "endpoints", selector, port }: SetSpec, doubt: Doubt): boolean {
  if (doubt.among !== among || (port !== undefined && !doubt.hasPorts)) return false;
  return certainty(selector, doubt) !== false;
}

function membersOf({ port }: SetSpec, item: Contribution, family: Family): readonly string[] {
  const members = membersIn(item, family);
  if (!port) return members;
  const ports =
    port === "every"
      ? item.ports
      : item.ports.filter(({ name, protocol }) => name === port.name && protocol === port.protocol);
  return ports.flatMap((p) => members.map((address) => `${address},${p.protocol}:${p.port}`));
}

function membersIn({ nets }: Contribution, family: Family): readonly string[] {
  const host = family === 4 ? "/32" : "/128";
  return nets
    .filter((net) => net.includes(":") === (family === 6))
    .map((net) => (net.endsWith(host) ? net.slice(0, -host.length) : net));
}

function snapshotOf(set: ActiveSet): NeutralSet {
  set.snapshot ??= neutral(set);
  return set.snapshot;
}

function neutral({ spec, members, edits }: ActiveSet): NeutralSet {
  for (const family of [4, 6] as const) {
    members[family] = members[family].edited(edits[family]);
    edits[family].clear();
  }
  return { kind: spec.port ? "ip-port" : "net", about: about(spec), members: { ...members } };
}

const sameContribution = (a: Contribution, b: Contribution): boolean =>
  a.among === b.among && sameTexts(a.nets, b.nets) && sameTexts(a.ports.map(portText), b.ports.map(portText));

const portText = ({ name, protocol, port }: Contribution["ports"][number]): string =>
  `${name}/${protocol}/${port}`;

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i]);
