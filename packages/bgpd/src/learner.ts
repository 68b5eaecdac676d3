/** What peers tell us: import policy and filters, into the Adj-RIBs-In. */
import {
  type Attributes,
  applyFilter,
  applyPolicy,
  type FilterRule,
  type ImportPolicy,
  importRoute,
  type Policy,
  Recent,
  type Rib,
  type Route,
  type Source,
  type Update,
} from "@margay/bgp";
import type { Family, Prefix } from "@margay/net";
import type { Self, WantedPeer } from "./config.ts";

/** How routes of one source are judged, and the routes made of the attributes that it sent lately. */
interface Student {
  readonly policy: ImportPolicy;
  readonly routes: Recent<Attributes, Route>;
  /** Metric that routes have in the kernel unless a filter says another. */
  readonly metric: Readonly<Record<Family, number>> | undefined;
  /** Import policy of the peer alone. */
  readonly own?: Policy | undefined;
}

export class Learner {
  readonly #ribs: Readonly<Record<Family, Rib>>;
  readonly #students = new Map<Source, Student>();

  constructor(ribs: Readonly<Record<Family, Rib>>) {
    this.#ribs = ribs;
  }

  /** A session is up: how its routes are judged from now on. */
  begin(source: Source, wanted: WantedPeer, self: Self | undefined): void {
    const { policyTerms: terms } = wanted;
    const policy = {
      localAs: wanted.localAs,
      bgpId: self?.bgpId ?? 0,
      ownAddresses: Object.values(self?.addresses ?? {}).flatMap((a) => (a ? [a.address] : [])),
      allowedLocalAs: wanted.allowedLocalAs,
      ...(self?.clusterId !== undefined ? { clusterId: self.clusterId } : {}),
      ...(wanted.sessionTerms?.role ? { role: wanted.sessionTerms.role } : {}),
      ...(terms?.enforceFirstAs ? { enforceFirstAs: true } : {}),
      ...(terms?.showBothAses && self ? { trueAs: self.as } : {}),
    };
    this.#students.set(source, { policy, routes: new Recent(), metric: self?.metric, own: terms?.import });
  }

  /** The session is over; what it said may stay in the RIBs. */
  end(source: Source): void {
    this.#students.delete(source);
  }

  /** Puts an UPDATE into the RIBs; the decision comes later. */
  learn(source: Source, { filters }: WantedPeer, { withdrawn, announced }: Update): void {
    const student = this.#students.get(source);
    if (!student) return;
    for (const nlri of withdrawn) this.#ribs[nlri.family].withdraw(source, nlri);
    for (const { nlri, attributes } of announced) {
      const rib = this.#ribs[nlri.family];
      const route = this.#route(source, attributes, student);
      const rules = filters?.import[nlri.family] ?? [];
      if (rules.length === 0 && !student.own) rib.announce(nlri, route);
      else
        rib.prefixes.eachId(nlri, (id) => {
          const prefix = rib.prefixes.prefix(id);
          rib.put(
            id,
            filtered(judged(route, prefix, student.own), rules, { prefix, metric: student.metric }),
          );
        });
    }
  }

  /**
   * The policy of an established session is another one: its Adj-RIBs-In are judged again, nothing is asked of the peer.
   * Stale routes wait for the peer to say them again.
   */
  relearn(source: Source, wanted: WantedPeer, self: Self | undefined): void {
    this.begin(source, wanted, self);
    const student = this.#students.get(source);
    if (!student) return;
    for (const rib of Object.values(this.#ribs))
      for (const id of rib.ids()) {
        const path = rib.paths(id).find((p) => p.source === source);
        if (!path || path.stale) continue;
        const prefix = rib.prefixes.prefix(id);
        const rules = wanted.filters?.import[prefix.family] ?? [];
        const route = judged(this.#route(source, path.received, student), prefix, student.own);
        rib.put(id, filtered(route, rules, { prefix, metric: student.metric }));
      }
  }

  #route(source: Source, received: Attributes, { policy, routes }: Student): Route {
    const known = routes.get(received);
    if (known) return known;
    const route: Route = { source, received, ...importRoute(policy, source, received) };
    routes.set(received, route);
    return route;
  }
}

/** The route of one prefix after the peer's own policy. */
function judged(route: Route, prefix: Prefix, policy: Policy | undefined): Route {
  const { source, received, attributes } = route;
  if (!policy || !attributes) return route;
  const verdict = applyPolicy(policy, { prefix, attributes, learned: source.kind, peer: source });
  if (!verdict.accept) return { source, received, refused: `refused by policy: ${verdict.by}` };
  return verdict.attributes === attributes ? route : { source, received, attributes: verdict.attributes };
}

/** The route of one prefix after the filters; where no rule matches, import policy stands. */
function filtered(
  route: Route,
  rules: readonly FilterRule[],
  { prefix, metric }: { readonly prefix: Prefix; readonly metric: Student["metric"] },
): Route {
  const { source, received, attributes } = route;
  if (!attributes) return route;
  const peerType = source.kind === "ibgp" ? "ibgp" : "ebgp";
  const verdict = applyFilter(rules, {
    ...{ prefix, peerType, attributes, learned: true },
    ...(metric ? { priority: metric[prefix.family] } : {}),
  });
  if (!verdict || (verdict.accept && verdict.attributes === attributes)) return route;
  return verdict.accept
    ? { source, received, attributes: verdict.attributes }
    : { source, received, refused: "refused by a BGPFilter" };
}
