import { changedById, isInFamily, type LocalEndpoint, type NodeState } from "@margay/calc";
import { formatAddress } from "@margay/net";
import { oncePer, PartedSet } from "@margay/reconcile";
import type { Cohorts } from "./render/cohort.ts";
import { notOurs } from "./wanted.ts";

/** Numbers of interface groups that are ours; the kernel gives every new interface 0. */
const FIRST_GROUP = 0x6d_00_00_01;
const LAST_GROUP = 0x6d_ff_ff_ff;
const NO_GROUP = 0;
/** Of interfaces that are being made. */
const MOST_PROMISED = 1000;

/** What is known of the node's interfaces. */
export interface LinkGroups {
  /** The group that an interface is in; undefined where there is no such interface. */
  groupOf(interfaceName: string): number | undefined;
  /** Nothing was let through there yet: it came after the rules that are in force. */
  isFresh(interfaceName: string): boolean;
}

/** To another group. */
export interface Move {
  readonly group: number;
  /** It is a member already, since it is new: there is nothing that its packets are asked until it is there. */
  readonly isMember: boolean;
}

/** Where a workload is that may be a member at all. */
interface Place {
  readonly endpoint: LocalEndpoint;
  /** What decides about it. */
  readonly key: string;
  /** The group of its interface, if that is one of ours. */
  readonly group: number;
}

/**
 * Puts workloads that the same policies and profiles decide into cohorts (docs/adr/0023-cohorts.md). The groups in which interfaces are
 * already count, so that a new agent finds what the last one left: a group belongs to what most of its workloads need, and goes
 * along where that changes for them together. Whoever needs something else is no member until its interface is in another
 * group: it has rules of its own meanwhile, so that its policies change in the same transaction as all else. What did not change is
 * not looked at.
 */
export class CohortTable {
  #endpoints: NodeState["endpoints"] = [];
  #config: NodeState["config"] | undefined;
  readonly #known = new Map<string, LocalEndpoint>();
  /** Ids of the workloads that have an interface or an address. */
  readonly #claims = new Map<string, Set<string>>();
  /** By id. */
  readonly #places = new Map<string, Place>();
  /** By group: ids by key; and the key that most of them have. */
  readonly #inGroup = new Map<number, Map<string, Set<string>>>();
  readonly #majority = new Map<number, string>();
  /** Those in no group, or in one that is others'; and of those, those that may begin as members of another. */
  readonly #homeless = new Set<string>();
  readonly #newcomers = new Set<string>();
  readonly #groups = new Map<string, number>();
  /** By interface, what `groupFor` said: it may be made there before this table hears of it. */
  readonly #promised = new Map<string, number>();
  /** Interfaces of those that had rules of their own, whatever their group. */
  readonly #apart = new Set<string>();
  #moves: ReadonlyMap<string, Move> = new Map();
  #members = PartedSet.empty;
  #last: Cohorts = { cohorts: new Map(), members: this.#members, groups: this.#groups };

  /** By interface, those that are not in the group that they are to be in. */
  get moves(): ReadonlyMap<string, Move> {
    return this.#moves;
  }

  /**
   * The group in which those are that are decided as this workload is. An interface that is made there needs no move: its packets are
   * refused until its addresses are members, and its route comes after.
   */
  groupFor(endpoint: LocalEndpoint): number | undefined {
    const key = decisionKey(endpoint);
    const [group] = [...this.#majority].find(([, its]) => its === key) ?? [];
    this.#promised.delete(endpoint.interfaceName);
    if (group !== undefined) this.#promised.set(endpoint.interfaceName, group);
    for (const [oldest] of this.#promised)
      if (this.#promised.size > MOST_PROMISED) this.#promised.delete(oldest);
    return group;
  }

  /** The group that its interface is in, or will be in when it is there. */
  #groupOf({ interfaceName }: LocalEndpoint, links: LinkGroups): number {
    return links.groupOf(interfaceName) ?? this.#promised.get(interfaceName) ?? NO_GROUP;
  }

  /**
   * `touched`: interfaces of which `links` may say another thing than the last time; all if absent.
   * @returns the same object while it says the same
   */
  update(
    { endpoints, config }: Pick<NodeState, "endpoints" | "config">,
    links: LinkGroups,
    touched: ReadonlySet<string> | undefined,
  ): Cohorts {
    const isSame = config === this.#config;
    this.#config = config;
    const looked = this.#heed(endpoints, isSame ? touched : undefined);
    if (looked.size === 0 && this.#homeless.size === 0) return this.#last;
    const groups = new Set<number>();
    for (const id of looked) this.#leave(id, groups);
    for (const id of looked) this.#enter(id, links, groups);
    for (const group of groups) for (const id of this.#settle(group)) looked.add(id);
    for (const id of this.#homeless) looked.add(id);
    const cohorts = this.#house(links);
    const { members: before } = this.#last;
    this.#members = this.#members.edited([...looked].map((id) => [id, this.#isMember(id)] as const));
    if (this.#members !== before || !sameEntries(this.#last.cohorts, cohorts))
      this.#last = { cohorts, members: this.#members, groups: this.#groups };
    return this.#last;
  }

  /** Files who claims what. @returns the ids that must be looked at */
  #heed(endpoints: NodeState["endpoints"], touched: ReadonlySet<string> | undefined): Set<string> {
    const { gone, came } = changedById(this.#endpoints, endpoints);
    this.#endpoints = endpoints;
    const looked = new Set<string>();
    const claim = (one: LocalEndpoint, tell: (ids: Set<string>) => void) => {
      for (const what of claimsOf(one)) {
        const ids = this.#claims.get(what) ?? new Set();
        for (const id of ids) looked.add(id);
        tell(ids);
        for (const id of ids) looked.add(id);
        if (ids.size > 0) this.#claims.set(what, ids);
        else this.#claims.delete(what);
      }
    };
    for (const one of gone) {
      claim(one, (ids) => ids.delete(one.id));
      this.#known.delete(one.id);
      looked.add(one.id);
    }
    for (const one of came) {
      claim(one, (ids) => ids.add(one.id));
      this.#known.set(one.id, one);
    }
    for (const { interfaceName } of gone)
      if (!this.#claims.has(interfaceName)) {
        this.#groups.delete(interfaceName);
        this.#promised.delete(interfaceName);
        this.#apart.delete(interfaceName);
      }
    if (!touched) for (const id of this.#known.keys()) looked.add(id);
    for (const name of touched ?? []) for (const id of this.#claims.get(name) ?? []) looked.add(id);
    return looked;
  }

  #leave(id: string, groups: Set<number>): void {
    const place = this.#places.get(id);
    this.#places.delete(id);
    this.#homeless.delete(id);
    if (!place || place.group === NO_GROUP) return;
    this.#inGroup.get(place.group)?.get(place.key)?.delete(id);
    groups.add(place.group);
  }

  #enter(id: string, links: LinkGroups, groups: Set<number>): void {
    const endpoint = this.#known.get(id);
    if (!endpoint) return;
    if (!this.#isEligible(endpoint)) {
      this.#apart.add(endpoint.interfaceName);
      return;
    }
    const found = this.#groupOf(endpoint, links);
    const place = { endpoint, key: decisionKey(endpoint), group: isOurs(found) ? found : NO_GROUP };
    this.#places.set(id, place);
    if (place.group === NO_GROUP) {
      this.#homeless.add(id);
      return;
    }
    const byKey = this.#inGroup.get(place.group) ?? new Map<string, Set<string>>();
    this.#inGroup.set(place.group, byKey.set(place.key, (byKey.get(place.key) ?? new Set()).add(id)));
    if (this.#majority.get(place.group) !== place.key) this.#homeless.add(id);
    groups.add(place.group);
  }

  /** Its interface is ours; it asks for nothing but what every workload is asked, and shares neither interface nor address with any. */
  #isEligible(endpoint: LocalEndpoint): boolean {
    const { ok, mac, spoofable } = endpoint;
    if (!ok || mac === undefined || spoofable.length > 0) return false;
    if (!this.#config || notOurs(endpoint, this.#config) !== undefined) return false;
    return claimsOf(endpoint).every((what) => this.#claims.get(what)?.size === 1);
  }

  /** Says whose a group is. @returns those for whom that is news */
  #settle(group: number): readonly string[] {
    const byKey = this.#inGroup.get(group) ?? new Map<string, Set<string>>();
    for (const [key, ids] of byKey) if (ids.size === 0) byKey.delete(key);
    const before = this.#majority.get(group);
    let most = before !== undefined && byKey.has(before) ? before : undefined;
    for (const [key, ids] of byKey) if (ids.size > (byKey.get(most ?? "")?.size ?? 0)) most = key;
    if (most === undefined) {
      this.#inGroup.delete(group);
      this.#majority.delete(group);
      return [];
    }
    this.#majority.set(group, most);
    if (most === before) return [];
    for (const [key, ids] of byKey)
      for (const id of ids)
        if (key === most) this.#homeless.delete(id);
        else this.#homeless.add(id);
    return [...byKey.values()].flatMap((ids) => [...ids]);
  }

  /** Finds a group for everybody. @returns the cohorts, those in which nobody is yet among them */
  #house(links: LinkGroups): Cohorts["cohorts"] {
    const cohorts = new Map<number, LocalEndpoint>();
    const moves = new Map<string, Move>();
    const groupOfKey = new Map<string, number>();
    for (const [group, key] of this.#majority) {
      const [first = ""] = this.#inGroup.get(group)?.get(key) ?? [];
      const { endpoint } = this.#places.get(first) ?? {};
      if (endpoint) cohorts.set(group, endpoint);
      groupOfKey.set(key, group);
    }
    let next = FIRST_GROUP;
    this.#newcomers.clear();
    for (const id of this.#homeless) {
      const { endpoint, key, group: now } = this.#places.get(id)!; // `#enter` puts both
      while (cohorts.has(next)) next++;
      const group = groupOfKey.get(key) ?? next;
      if (group > LAST_GROUP) continue;
      if (!cohorts.has(group)) cohorts.set(group, endpoint);
      groupOfKey.set(key, group);
      this.#groups.set(endpoint.interfaceName, group);
      const isMember = now === NO_GROUP && this.#isNew(endpoint, links);
      moves.set(endpoint.interfaceName, { group, isMember });
      if (isMember) this.#newcomers.add(id);
      else this.#apart.add(endpoint.interfaceName);
    }
    this.#moves = moves;
    return cohorts;
  }

  /** Nothing was let through at its interface yet. */
  #isNew(endpoint: LocalEndpoint, links: LinkGroups): boolean {
    const { interfaceName } = endpoint;
    const isUngrouped = this.#groupOf(endpoint, links) === NO_GROUP;
    return isUngrouped && links.isFresh(interfaceName) && !this.#apart.has(interfaceName);
  }

  #isMember(id: string): boolean {
    const place = this.#places.get(id);
    const isAtHome = place !== undefined && !this.#homeless.has(id);
    if (isAtHome) {
      this.#groups.set(place.endpoint.interfaceName, place.group);
      this.#apart.delete(place.endpoint.interfaceName);
    } else if (!place) this.#forget(id);
    return isAtHome || this.#newcomers.has(id);
  }

  #forget(id: string): void {
    const interfaceName = this.#known.get(id)?.interfaceName;
    if (interfaceName !== undefined) this.#groups.delete(interfaceName);
  }
}

/** Of what is there, without knowing of any time before. */
export const cohortsOf = (state: Pick<NodeState, "endpoints" | "config">, links: LinkGroups): Cohorts =>
  new CohortTable().update(state, links, undefined);

const sameEntries = <K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

const isOurs = (group: number): boolean => group >= FIRST_GROUP && group <= LAST_GROUP;

const claimsOf = oncePer(({ interfaceName, addresses }: LocalEndpoint): readonly string[] => [
  ...new Set([interfaceName, ...addresses.map(formatAddress)]),
]);

/** All that its decision depends on besides the policies themselves, and the families in which there is one. */
export const decisionKey = oncePer((endpoint: LocalEndpoint): string => {
  const { ingress, egress, staged, profiles } = endpoint;
  const families = ([4, 6] as const).map((family) => isInFamily(endpoint, family));
  return JSON.stringify([families, ingress, egress, staged ?? null, profiles]);
});
