/** What peers tell us: import policy and filters, into the Adj-RIBs-In. */
import {
  applyFilter,
  applyPolicy,
  type FilterRule,
  type ImportPolicy,
  importRoute,
  LearnedRoute,
  materialised,
  type Nlri,
  type Policy,
  type Rib,
  type Route,
  RouteStore,
  type Source,
  type Update,
} from "@margay/bgp";
import type { Address, Family, Prefix } from "@margay/net";
import { deviceTo, type Self, type WantedPeer } from "./config.ts";

/** How routes of one source are judged, and those made of the attributes that it sent. */
interface Student {
  readonly routes: RouteStore;
  /** Metric that routes have in the kernel unless a filter says another. */
  readonly metric: Readonly<Record<Family, number>> | undefined;
  /** Import policy of the peer alone. */
  readonly own?: Policy | undefined;
}

/** What of a source is to be judged by another policy. */
interface Arrears {
  readonly wanted: WantedPeer;
  /** Of the next prefix. */
  readonly family: Family;
  readonly next: number;
  /** The policy changed on the way: then all once more. */
  readonly isDueAgain: boolean;
}

export class Learner {
  readonly #ribs: Readonly<Record<Family, Rib>>;
  readonly #deviceOf: (nextHop: Address) => string | undefined;
  readonly #students = new Map<Source, Student>();
  /** Those whose turn comes first are first. */
  readonly #behind = new Map<Source, Arrears>();

  /** `deviceOf`: the interface towards a next hop, for filters that ask for it. */
  constructor(
    ribs: Readonly<Record<Family, Rib>>,
    deviceOf: (nextHop: Address) => string | undefined = () => undefined,
  ) {
    this.#ribs = ribs;
    this.#deviceOf = deviceOf;
  }

  /** A session is up: how its routes are judged from now on. */
  begin(source: Source, wanted: WantedPeer, self: Self | undefined): void {
    const { policyTerms: terms } = wanted;
    const policy: ImportPolicy = {
      localAs: wanted.localAs,
      bgpId: self?.bgpId ?? 0,
      ownAddresses: Object.values(self?.addresses ?? {}).flatMap((a) => (a ? [a.address] : [])),
      allowedLocalAs: wanted.allowedLocalAs,
      ...(self?.clusterId !== undefined ? { clusterId: self.clusterId } : {}),
      ...(wanted.sessionTerms?.role ? { role: wanted.sessionTerms.role } : {}),
      ...(terms?.enforceFirstAs ? { enforceFirstAs: true } : {}),
      ...(terms?.showBothAses && self ? { trueAs: self.as } : {}),
    };
    const routes = new RouteStore(source, policy);
    this.#students.set(source, { routes, metric: self?.metric, own: terms?.import });
  }

  /** The session is over; what it said may stay in the RIBs. */
  end(source: Source): void {
    this.#students.delete(source);
    this.#behind.delete(source);
  }

  /** Distinct attribute lists of the sources that are here. */
  get attributeLists(): number {
    return [...this.#students.values()].reduce((sum, { routes }) => sum + routes.size, 0);
  }

  /** Puts an UPDATE into the RIBs; the decision comes later. */
  learn(source: Source, { filters }: WantedPeer, { withdrawn, announced }: Update): void {
    const student = this.#students.get(source);
    if (!student) return;
    for (const nlri of withdrawn) this.#ribs[nlri.family].withdraw(source, nlri);
    for (const { nlri, list } of announced) {
      const route = student.routes.routeOf(list);
      const rules = filters?.import[nlri.family] ?? noRules;
      if (rules.length === 0 && !student.own) this.#ribs[nlri.family].announce(nlri, route);
      else this.#judgeEach(nlri, route, { student, rules });
      route.release();
    }
  }

  /** Policies that look at the prefix: one verdict each. */
  #judgeEach(
    nlri: Nlri,
    route: LearnedRoute,
    { student, rules }: { readonly student: Student; readonly rules: readonly FilterRule[] },
  ): void {
    const rib = this.#ribs[nlri.family];
    const whole = materialised(route);
    rib.prefixes.eachId(nlri, (id, pathId) => {
      const prefix = rib.prefixes.prefix(id);
      const one = filtered(judged(whole, prefix, student.own), rules, {
        prefix,
        metric: student.metric,
        deviceOf: this.#deviceOf,
      });
      rib.put(id, one === whole ? route : one, pathId);
    });
  }

  /**
   * The policy of an established session is another one: its Adj-RIBs-In are judged again, by `judgeSome`; nothing is asked of the
   * peer. Stale routes wait for the peer to say them again. Judging that is under way is ended first: the last have their turn.
   */
  relearn(source: Source, wanted: WantedPeer, self: Self | undefined): void {
    this.begin(source, wanted, self);
    const { family, next } = this.#behind.get(source) ?? start;
    this.#behind.set(source, { wanted, family, next, isDueAgain: family > 4 || next > 0 });
  }

  /** Routes are left to be judged again. */
  get isBehind(): boolean {
    return this.#behind.size > 0;
  }

  /** Judges again what of so many prefixes is of sources with another policy. */
  judgeSome(most: number): void {
    let left = most;
    for (const [source, place] of this.#behind) {
      for (const family of [4, 6] as const) {
        if (family < place.family) continue;
        const from = family === place.family ? place.next : 0;
        const { size } = this.#ribs[family].prefixes;
        const to = Math.min(size, from + left);
        this.#judgeAgain(source, place.wanted, { family, from, to });
        left -= to - from;
        this.#behind.set(source, { ...place, family, next: to });
        if (to < size) return;
      }
      this.#behind.delete(source);
      if (place.isDueAgain) this.#behind.set(source, { ...place, ...start, isDueAgain: false });
    }
  }

  #judgeAgain(
    source: Source,
    { filters }: WantedPeer,
    { family, ...range }: { readonly family: Family; readonly from: number; readonly to: number },
  ): void {
    const student = this.#students.get(source);
    if (!student) return;
    const rib = this.#ribs[family];
    const rules = filters?.import[family] ?? [];
    rib.eachOf(
      source,
      (id, before, pathId) => {
        if (rib.isStale(source, id, pathId)) return;
        const prefix = rib.prefixes.prefix(id);
        const again = before instanceof LearnedRoute ? student.routes.routeOf(before.list) : undefined;
        const whole = again ? materialised(again) : judgedAgain(before, student.routes.policy);
        const one = filtered(judged(whole, prefix, student.own), rules, {
          prefix,
          metric: student.metric,
          deviceOf: this.#deviceOf,
        });
        rib.put(id, again && one === whole ? again : one, pathId);
        again?.release();
      },
      range,
    );
  }
}

const noRules: readonly FilterRule[] = [];

const start: Pick<Arrears, "family" | "next"> = { family: 4, next: 0 };

/** A route that a policy of its prefix made, from the start. */
const judgedAgain = ({ source, received }: Route, policy: ImportPolicy): Route => ({
  ...{ source, received },
  ...importRoute(policy, source, received),
});

/** The route of one prefix after the peer's own policy. */
function judged(route: Route, prefix: Prefix, policy: Policy | undefined): Route {
  const { source, received, attributes } = route;
  if (!policy || !attributes) return route;
  const verdict = applyPolicy(policy, { prefix, attributes, learned: source.kind, peer: source });
  if (!verdict.accept) return { source, received, refused: `refused by policy: ${verdict.by}` };
  return verdict.attributes === attributes ? route : { source, received, attributes: verdict.attributes };
}

/** What filters ask for beside the route. */
interface Place {
  readonly prefix: Prefix;
  readonly metric: Student["metric"];
  readonly deviceOf: (nextHop: Address) => string | undefined;
}

/** The route of one prefix after the filters; where no rule matches, import policy stands. */
function filtered(route: Route, rules: readonly FilterRule[], { prefix, metric, deviceOf }: Place): Route {
  const { source, received, attributes } = route;
  if (!attributes) return route;
  const hop = rules.some((r) => r.interface !== undefined) ? attributes.nextHop?.address : undefined;
  const device = hop && deviceTo(hop, source, deviceOf);
  const peerType = source.kind === "ibgp" ? "ibgp" : "ebgp";
  const verdict = applyFilter(rules, {
    ...{ prefix, peerType, attributes, learned: true },
    ...(metric ? { priority: metric[prefix.family] } : {}),
    ...(device === undefined ? {} : { interface: device }),
  });
  if (!verdict || (verdict.accept && verdict.attributes === attributes)) return route;
  return verdict.accept
    ? { source, received, attributes: verdict.attributes }
    : { source, received, refused: "refused by a BGPFilter" };
}
