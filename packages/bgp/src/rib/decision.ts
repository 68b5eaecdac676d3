/**
 * The decision process, RFC 4271 §9.1. Each step removes the worse candidates from the whole set and tells at which
 * step each of them lost; no pairwise comparison, since MED makes that depend on the order (§9.1.2.2 c).
 */
import { type Address, compareAddress } from "@margay/net";
import { asPathLength, neighbourAs } from "../wire/as-path.ts";
import type { Attributes } from "../wire/attributes.ts";
import { origins } from "../wire/attributes.ts";
import { communities } from "../wire/code-points.ts";
import { type DecisionStep, hopKey, type Route } from "./path.ts";

/** Cost of the way to a next hop; undefined when there is none. */
export type Cost = (nextHop: Address) => number | undefined;

export interface Decision {
  readonly best?: Route;
  /** The routes equal to the best up to step 8, itself first: what ECMP may use. Next hops are distinct. */
  readonly equal: readonly Route[];
}

/** A route that import policy accepted. */
type Candidate = Route & { readonly attributes: Attributes };

/** Told of each route that loses, and at which step. */
export type OnLost = (route: Route, step: DecisionStep) => void;

const accepted = (r: Route): r is Candidate => r.attributes !== undefined;
const unheard: OnLost = () => {};

/** Chooses among the routes of one prefix. */
export function decide(routes: readonly Route[], cost: Cost, onLost: OnLost = unheard): Decision {
  const left = routes.filter(accepted);
  for (let i = left.length - 1; i >= 0; i--)
    if (costOf(left[i]!, cost) === undefined) onLost(left.splice(i, 1)[0]!, "next-hop"); // i is in range
  const lowest = (step: DecisionStep, rank: (r: Candidate) => number) => {
    if (left.length > 1) keepLowest(left, rank, (r) => onLost(r, step));
  };
  lowest("long-lived-stale", isLastResort);
  lowest("locally-originated", isLearned);
  lowest("local-pref", minusLocalPref);
  lowest("as-path", pathLength);
  lowest("origin", originRank);
  if (left.length > 1) keepLowestMedPerAs(left, onLost);
  lowest("ebgp-over-ibgp", isInternal);
  lowest("igp-cost", (r) => costOf(r, cost) ?? 0);
  if (left.length <= 1) return left[0] ? { best: left[0], equal: [left[0]] } : { equal: [] };
  const equal = [...left];
  // RFC 4456 §9: ORIGINATOR_ID stands for the identifier of a reflected route.
  lowest("bgp-identifier", identifier);
  lowest("cluster-list", clusterLength);
  if (left.length > 1) keepLowestAddress(left, onLost);
  const best = left[0]!; // of several at least one is left
  return { best, equal: distinctHops([best, ...equal.filter((r) => r !== best)]) };
}

/** Routes of our own need no next hop. */
const costOf = ({ source, attributes }: Candidate, cost: Cost): number | undefined =>
  source.kind === "local" || !attributes.nextHop ? 0 : cost(attributes.nextHop.address);

const isLastResort = (r: Candidate): number =>
  r.attributes.communities?.includes(communities.llgrStale) ? 1 : 0;
const minusLocalPref = (r: Candidate): number => -(r.attributes.localPref ?? 100);
const isLearned = (r: Candidate): number => (r.source.kind === "local" ? 0 : 1);
const pathLength = (r: Candidate): number => asPathLength(r.attributes.asPath);
const originRank = (r: Candidate): number => origins.indexOf(r.attributes.origin);
const isInternal = (r: Candidate): number => (r.source.kind === "ibgp" ? 1 : 0);
const identifier = (r: Candidate): number => r.attributes.originatorId ?? r.source.bgpId;
const clusterLength = (r: Candidate): number => r.attributes.clusterList?.length ?? 0;
const med = (r: Candidate): number => r.attributes.med ?? 0;

/** Takes the others out of `left`, in place. */
function keepLowest(left: Candidate[], rank: (r: Candidate) => number, lost: (r: Route) => void): void {
  let least = Number.POSITIVE_INFINITY;
  for (const r of left) least = Math.min(least, rank(r));
  removeIf(left, (r) => rank(r) > least, lost);
}

/** §9.1.2.2 c: a route goes if one from the same neighbouring AS has a lower MED; a missing MED is 0. */
function keepLowestMedPerAs(left: Candidate[], onLost: OnLost): void {
  const all = [...left];
  const beaten = (r: Candidate) =>
    all.some((o) => med(o) < med(r) && neighbourAs(o.attributes.asPath) === neighbourAs(r.attributes.asPath));
  removeIf(left, beaten, (r) => onLost(r, "med"));
}

function keepLowestAddress(left: Candidate[], onLost: OnLost): void {
  const least = left.reduce((a, b) => (compareAddress(b.source.address, a.source.address) < 0 ? b : a));
  const isSame = (r: Route) => compareAddress(r.source.address, least.source.address) === 0;
  removeIf(
    left,
    (r) => r !== least,
    (r) => onLost(r, isSame(r) ? "same-peer" : "peer-address"),
  );
}

function removeIf(left: Candidate[], goes: (r: Candidate) => boolean, lost: (r: Route) => void): void {
  let kept = 0;
  for (const r of left) {
    if (goes(r)) lost(r);
    else left[kept++] = r;
  }
  left.length = kept;
}

function distinctHops(routes: readonly Candidate[]): Candidate[] {
  const seen = new Set<bigint | string | undefined>();
  return routes.filter((r) => {
    const hop = hopKey(r.attributes.nextHop?.address, r.source);
    return seen.has(hop) ? false : seen.add(hop);
  });
}
