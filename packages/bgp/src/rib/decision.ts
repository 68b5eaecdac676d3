/**
 * The decision process, RFC 4271 §9.1. Each step removes the worse candidates from the whole set and notes on each
 * at which step it lost; no pairwise comparison, since MED makes that depend on the order (§9.1.2.2 c).
 */
import { type Address, compareAddress } from "@margay/net";
import { asPathLength, neighbourAs } from "../wire/as-path.ts";
import type { Attributes } from "../wire/attributes.ts";
import { origins } from "../wire/attributes.ts";
import type { DecisionStep, Path } from "./path.ts";

/** Cost of the way to a next hop; undefined when there is none. */
export type Cost = (nextHop: Address) => number | undefined;

export interface Decision {
  readonly best?: Path;
  /** The paths equal to the best up to step 7, itself first: what ECMP may use. Next hops are distinct. */
  readonly equal: readonly Path[];
}

/** A path that import policy accepted. */
type Candidate = Path & { readonly attributes: Attributes };

const accepted = (p: Path): p is Candidate => p.attributes !== undefined;

/** Chooses among the paths of one prefix and sets `lost` on each of them. */
export function decide(paths: readonly Path[], cost: Cost): Decision {
  let left = paths.filter(accepted);
  for (const path of left) path.lost = undefined;
  const keep = (step: DecisionStep, survivors: Candidate[]) => {
    if (survivors.length < left.length) for (const p of left) if (!survivors.includes(p)) p.lost = step;
    left = survivors;
  };
  const costs = new Map(left.map((p) => [p, costOf(p, cost)]));
  keep(
    "next-hop",
    left.filter((p) => costs.get(p) !== undefined),
  );
  if (left.length > 1) {
    keep(
      "local-pref",
      lowest(left, (p) => -(p.attributes.localPref ?? 100)),
    );
    keep(
      "locally-originated",
      lowest(left, (p) => (p.source.kind === "local" ? 0 : 1)),
    );
    keep(
      "as-path",
      lowest(left, (p) => asPathLength(p.attributes.asPath)),
    );
    keep(
      "origin",
      lowest(left, (p) => origins.indexOf(p.attributes.origin)),
    );
    keep("med", lowestMedPerAs(left));
    keep(
      "ebgp-over-ibgp",
      lowest(left, (p) => (p.source.kind === "ibgp" ? 1 : 0)),
    );
    keep(
      "igp-cost",
      lowest(left, (p) => costs.get(p) ?? 0),
    );
  }
  const equal = left;
  if (left.length > 1) {
    // RFC 4456 §9: ORIGINATOR_ID stands for the identifier of a reflected route.
    keep(
      "bgp-identifier",
      lowest(left, (p) => p.attributes.originatorId ?? p.source.bgpId),
    );
    keep(
      "cluster-list",
      lowest(left, (p) => p.attributes.clusterList?.length ?? 0),
    );
    keep("peer-address", lowestAddress(left));
  }
  const best = left[0];
  return { best, equal: best ? distinctHops([best, ...equal.filter((p) => p !== best)]) : [] };
}

/** Routes of our own need no next hop. */
const costOf = (p: Candidate, cost: Cost): number | undefined =>
  p.source.kind === "local" || !p.attributes.nextHop ? 0 : cost(p.attributes.nextHop.address);

function lowest(paths: readonly Candidate[], rank: (p: Candidate) => number): Candidate[] {
  const least = Math.min(...paths.map(rank));
  return paths.filter((p) => rank(p) === least);
}

/** §9.1.2.2 c: a path goes if one from the same neighbouring AS has a lower MED; a missing MED is 0. */
function lowestMedPerAs(paths: readonly Candidate[]): Candidate[] {
  const least = new Map<number | undefined, number>();
  const med = (p: Candidate) => p.attributes.med ?? 0;
  for (const p of paths) {
    const as = neighbourAs(p.attributes.asPath);
    least.set(as, Math.min(least.get(as) ?? Number.POSITIVE_INFINITY, med(p)));
  }
  return paths.filter((p) => med(p) === least.get(neighbourAs(p.attributes.asPath)));
}

function lowestAddress(paths: readonly Candidate[]): Candidate[] {
  const [first, ...rest] = paths;
  if (!first) return [];
  const least = rest.reduce(
    (a, b) => (compareAddress(b.source.address, a.source.address) < 0 ? b : a),
    first,
  );
  return [least];
}

function distinctHops(paths: readonly Candidate[]): Candidate[] {
  const seen = new Set<bigint | undefined>();
  return paths.filter((p) => {
    const hop = p.attributes.nextHop?.address.bits;
    return seen.has(hop) ? false : seen.add(hop);
  });
}
