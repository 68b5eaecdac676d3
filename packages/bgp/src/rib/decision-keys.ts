/** What the decision process compares, in columns by route number: RFC 4271 §9.1 without an object per candidate. */
import { asPathLength, neighbourAs } from "../wire/as-path.ts";
import { origins } from "../wire/attributes.ts";
import { communities } from "../wire/code-points.ts";
import { absent, scan } from "../wire/scan.ts";
import type { Route, Source } from "./path.ts";
import { grown } from "./prefix-table.ts";
import { LearnedRoute } from "./route-store.ts";

const defaultLocalPref = 100;

/** Bits of a rank: long-lived stale 1, learned 1, LOCAL_PREF 32, path length 15, origin 2. */
const belowLocalPref = 2 ** 17;
const learned = 2 ** 32;
const last = 2 ** 33;

export class DecisionKeys {
  /** Steps 1 to 5 of `decisionSteps` as one number, the lowest first. */
  rank = new Float64Array(64);
  med = new Uint32Array(64);
  /** 0: none. */
  neighbourAs = new Uint32Array(64);
  isInternal = new Uint8Array(64);
  identifier = new Uint32Array(64);
  clusters = new Uint16Array(64);

  /** Fills the row of a route that import policy accepted. */
  set(number: number, route: Route): void {
    if (number >= this.rank.length) this.#grow();
    const { source } = route;
    this.isInternal[number] = source.kind === "ibgp" ? 1 : 0;
    if (route instanceof LearnedRoute && (scan.of === route || route.look())) this.#fromScan(number, source);
    else this.#fromAttributes(number, route);
  }

  #fromScan(number: number, source: Source): void {
    const localPref = source.kind === "ibgp" && scan.localPref !== absent ? scan.localPref : defaultLocalPref;
    this.rank[number] = rankOf({ stale: false, localPref, own: false }, scan.pathLength, scan.origin);
    this.med[number] = scan.med === absent ? 0 : scan.med;
    this.neighbourAs[number] = scan.neighbourAs;
    this.identifier[number] = scan.originatorId === absent ? source.bgpId : scan.originatorId;
    this.clusters[number] = scan.clusterList === absent ? 0 : (scan.clusterListEnd - scan.clusterList) / 4;
  }

  #fromAttributes(number: number, { source, attributes: a }: Route): void {
    if (!a) return;
    const stale = a.communities?.includes(communities.llgrStale) ?? false;
    const head = { stale, localPref: a.localPref ?? defaultLocalPref, own: source.kind === "local" };
    this.rank[number] = rankOf(head, asPathLength(a.asPath), origins.indexOf(a.origin));
    this.med[number] = a.med ?? 0;
    this.neighbourAs[number] = neighbourAs(a.asPath) ?? 0;
    this.identifier[number] = a.originatorId ?? source.bgpId;
    this.clusters[number] = a.clusterList?.length ?? 0;
  }

  #grow(): void {
    this.rank = grown(this.rank, (n) => new Float64Array(n));
    this.med = grown(this.med, (n) => new Uint32Array(n));
    this.neighbourAs = grown(this.neighbourAs, (n) => new Uint32Array(n));
    this.isInternal = grown(this.isInternal, (n) => new Uint8Array(n));
    this.identifier = grown(this.identifier, (n) => new Uint32Array(n));
    this.clusters = grown(this.clusters, (n) => new Uint16Array(n));
  }
}

/** RFC 9494 §4.3 last resorts behind all others, then §9.1.1 own routes and LOCAL_PREF, §9.1.2.2 a, b. */
const rankOf = (
  { stale, localPref, own }: { stale: boolean; localPref: number; own: boolean },
  pathLength: number,
  origin: number,
): number =>
  ((stale ? last : 0) + (own ? 0 : learned) + (2 ** 32 - 1 - localPref)) * belowLocalPref +
  pathLength * 4 +
  origin;
