import { contains, type Family, type Prefix } from "@margay/net";
import { Recent } from "../recent.ts";
import type { Route, Source } from "../rib/path.ts";
import { type AsPath, isConfederation, isPrivateAs, mapAses, prepend } from "../wire/as-path.ts";
import { type Attributes, isLinkLocal, type NextHop } from "../wire/attributes.ts";
import type { Role } from "../wire/capabilities.ts";
import { communities } from "../wire/code-points.ts";
import { defaultLocalPref } from "./import.ts";
import { sendOnlyToCustomer } from "./role.ts";

/** All that decides what a peer is told. Peers whose policies are equal share an update group. */
export interface ExportPolicy {
  readonly to: "ebgp" | "ibgp";
  readonly localAs: number;
  /** The peers are route reflection clients of ours. */
  readonly client: boolean;
  /** Ours as a number, when we are a route reflector. */
  readonly clusterId?: number;
  /** Our addresses as next hop, by the family of the route. */
  readonly self: Readonly<Partial<Record<Family, NextHop>>>;
  /**
   * `auto`: our own routes and all to eBGP get our address, reflected ones keep theirs (RFC 4271 §5.1.3, RFC 4456 §10);
   * `self`: ours always; `keep`: as learned, where there is one that the peer can use.
   */
  readonly nextHop: "auto" | "self" | "keep";
  /** The subnet that we share with the peer: a next hop in it is the peer's neighbour too and stays (RFC 4271 §5.1.3, third party). */
  readonly shared?: Prefix;
  /** IPv4 routes may go with an IPv6 next hop, RFC 8950. */
  readonly extendedNextHop?: boolean;
  /** Our own AS where `localAs` is another one for this peer (local-as): it stands behind `localAs`, unless `replaceAs`. */
  readonly trueAs?: number;
  readonly replaceAs?: boolean;
  /** Private ASes (RFC 6996) of the path go, or become ours. */
  readonly removePrivateAs?: "remove" | "replace";
  /** What we are to the peers, RFC 9234. */
  readonly role?: Role;
  /** The peers know long-lived stale routes, RFC 9494 §4.6. */
  readonly longLived?: boolean;
}

export type Exported = { readonly attributes: Attributes } | { readonly refused: string };

/** What the peers of a group are told of a best path. */
export function exportRoute(
  policy: ExportPolicy,
  path: Route & { readonly attributes: Attributes },
  family: Family,
): Exported {
  const { source, attributes } = path;
  const refused = distribution(policy, source) ?? communityBars(policy, attributes);
  if (refused) return { refused };
  const nextHop = nextHopFor(policy, { source, nextHop: attributes.nextHop }, family);
  if (!nextHop) return { refused: `no next hop of ours for IPv${family}` };
  if (policy.to === "ebgp") return markRole(policy, toExternal(policy, { ...attributes, nextHop }, source));
  return { attributes: toInternal(policy, { ...attributes, nextHop }, source) };
}

/** RFC 4456 §6: what came by iBGP goes to clients, and to others only if it came from a client. */
export function distribution(policy: ExportPolicy, source: Source): string | undefined {
  if (policy.to === "ebgp" || source.kind !== "ibgp") return undefined;
  if (policy.client || source.client) return undefined;
  return "iBGP split horizon (RFC 4271 §9.2.1)";
}

const markRole = ({ role, localAs }: ExportPolicy, a: Attributes): Exported =>
  role ? sendOnlyToCustomer(role, localAs, a) : { attributes: a };

/** RFC 1997: routes that must not leave us, or our AS. */
function communityBars(policy: ExportPolicy, { communities: list = [] }: Attributes): string | undefined {
  if (list.includes(communities.noAdvertise)) return "NO_ADVERTISE (RFC 1997)";
  if (list.includes(communities.llgrStale) && !policy.longLived)
    return "long-lived stale, and the peer does not know that (RFC 9494 §4.6)";
  if (policy.to === "ibgp") return undefined;
  if (list.includes(communities.noExport)) return "NO_EXPORT (RFC 1997)";
  if (list.includes(communities.noExportSubconfed)) return "NO_EXPORT_SUBCONFED (RFC 1997)";
  return undefined;
}

/**
 * RFC 4271 §5.1.3, RFC 4456 §10; RFC 8950 §4: one of IPv6 for IPv4 routes; RFC 2545 §3: a link-local address goes no farther than
 * its link. Undefined when we have none to give.
 */
export function nextHopFor(
  policy: ExportPolicy,
  { source, nextHop: learned }: { readonly source: Source; readonly nextHop?: NextHop | undefined },
  family: Family,
): NextHop | undefined {
  const foreign = (hop: NextHop) => hop.address.family !== family && !policy.extendedNextHop;
  const ours = policy.self[family] ?? (policy.extendedNextHop ? policy.self[6] : undefined);
  if (source.kind === "local" || !learned || policy.nextHop === "self" || foreign(learned)) return ours;
  const isShared = policy.shared !== undefined && contains(policy.shared, learned.address);
  const isKept = policy.nextHop === "keep" || (policy.to === "ibgp" && !source.isBehindUs);
  const stays = isKept && !isLinkLocal(learned.address);
  if (!stays && !isShared) return ours;
  return isShared || !learned.linkLocal ? learned : { address: learned.address };
}

/** RFC 4271 §5.1.2 b, §5.1.4, §5.1.5: prepend our AS; LOCAL_PREF, a learned MED and reflection marks stay inside. */
function toExternal(policy: ExportPolicy, a: Attributes, source: Source): Attributes {
  const { localPref: _l, originatorId: _o, clusterList: _c, med, ...rest } = a;
  const asPath = externalPath(policy, a.asPath);
  return source.kind === "local" && med !== undefined ? { ...rest, asPath, med } : { ...rest, asPath };
}

/** RFC 5065 §5.3 without confederation segments; then private ASes, then ours in front. */
function externalPath(policy: ExportPolicy, path: AsPath): AsPath {
  const { localAs, trueAs, replaceAs, removePrivateAs } = policy;
  let out: AsPath = path.filter((s) => !isConfederation(s));
  if (removePrivateAs)
    out = mapAses(out, (as) => (!isPrivateAs(as) ? [as] : removePrivateAs === "replace" ? [localAs] : []));
  if (trueAs !== undefined && trueAs !== localAs && !replaceAs) out = prepend(out, trueAs);
  return prepend(out, localAs);
}

/** RFC 4271 §5.1.5: LOCAL_PREF always; RFC 4456 §8: a reflected route bears its originator and our cluster. */
function toInternal(policy: ExportPolicy, a: Attributes, source: Source): Attributes {
  const localPref = a.localPref ?? defaultLocalPref;
  if (source.kind !== "ibgp" || policy.clusterId === undefined) return { ...a, localPref };
  return {
    ...a,
    localPref,
    originatorId: a.originatorId ?? source.bgpId,
    clusterList: [policy.clusterId, ...(a.clusterList ?? [])],
  };
}

/** Export policy with a memory: the same attributes object for the same route. */
export function exporter(policy: ExportPolicy, family: Family): (route: Route) => Attributes | undefined {
  const known = new Recent<Route, Exported>();
  let last: Route | undefined;
  let told: Attributes | undefined;
  const decide = (route: Route): Attributes | undefined => {
    const { attributes } = route;
    if (!attributes) return undefined;
    let answer = known.get(route);
    if (!answer) {
      answer = exportRoute(policy, { ...route, attributes }, family);
      known.set(route, answer);
    }
    return "attributes" in answer ? answer.attributes : undefined;
  };
  return (route) => {
    if (route !== last) told = decide(route);
    last = route;
    return told;
  };
}
