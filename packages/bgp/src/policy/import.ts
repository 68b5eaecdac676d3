import { type Address, sameAddress } from "@margay/net";
import type { Source } from "../rib/path.ts";
import type { Imported } from "../rib/rib.ts";
import { neighbourAs, occurrences, prepend } from "../wire/as-path.ts";
import type { Attributes, NextHop } from "../wire/attributes.ts";
import type { Role } from "../wire/capabilities.ts";
import { communities } from "../wire/code-points.ts";
import { u32At } from "../wire/nlri.ts";
import { type AttributeScan, absent } from "../wire/scan.ts";
import { hasCommunity } from "./community.ts";
import { receiveOnlyToCustomer } from "./role.ts";

/** What import policy must know of us. */
export interface ImportPolicy {
  readonly localAs: number;
  readonly bgpId: number;
  /** Our cluster id as a number, when we are a route reflector. */
  readonly clusterId?: number;
  /** Our own addresses: a route whose next hop is one of them is refused (RFC 4271 §6.3). */
  readonly ownAddresses: readonly Address[];
  /** How often our AS may stand in a path from this peer; 0 as RFC 4271 §9.1.2 wants it. */
  readonly allowedLocalAs: number;
  /** Our own AS where `localAs` is another one for this peer (local-as). */
  readonly trueAs?: number;
  /** With `trueAs`: do not show `localAs` in what we learn from the peer. */
  readonly noPrepend?: boolean;
  /** The path must begin with the peer's AS (RFC 4271 §6.3); not so with a route server. */
  readonly enforceFirstAs?: boolean;
  /** What we are to the peer, RFC 9234. */
  readonly role?: Role;
}

/** LOCAL_PREF of a route that came without one, and of ours. RFC 4271 leaves it to policy; everybody says 100. */
export const defaultLocalPref = 100;

/**
 * What a route from `source` becomes in the Loc-RIB: refused with a reason, or with LOCAL_PREF given.
 * Depends on the attributes alone, so that a caller may remember the answer for each.
 */
export function importRoute(policy: ImportPolicy, source: Source, attributes: Attributes): Imported {
  const refused = loop(policy, source, attributes) ?? badNextHop(policy, attributes);
  if (refused) return { refused };
  if (source.kind !== "ibgp") return importExternal(policy, source, attributes);
  if (attributes.localPref !== undefined) return { attributes };
  return { attributes: { ...attributes, localPref: defaultLocalPref } };
}

/** A plain list of attributes and what a look at it showed. */
export interface Looked {
  readonly bytes: Uint8Array;
  readonly scan: AttributeScan;
  readonly nextHop: NextHop;
}

/**
 * Whether `importRoute` would take these attributes and add no more than a missing LOCAL_PREF, told from their bytes.
 * False: ask it.
 */
export function importList(policy: ImportPolicy, source: Source, { bytes, scan, nextHop }: Looked): boolean {
  const { localAs, trueAs } = policy;
  if (scan.hasWellKnown || policy.role || (trueAs !== undefined && trueAs !== localAs)) return false;
  for (let at = scan.path; at < scan.pathEnd; ) {
    const next = at + 2 + 4 * bytes[at + 1]!; // a plain path
    for (let as = at + 2; as < next; as += 4) if (u32At(bytes, as) === localAs) return false;
    at = next;
  }
  if (badNextHop(policy, { nextHop })) return false;
  if (source.kind !== "ibgp") return !policy.enforceFirstAs || scan.neighbourAs === source.as;
  if (scan.originatorId === policy.bgpId) return false;
  return policy.clusterId === undefined || !holds(bytes, scan, policy.clusterId);
}

function holds(bytes: Uint8Array, { clusterList, clusterListEnd }: AttributeScan, id: number): boolean {
  if (clusterList === absent) return false;
  for (let at = clusterList; at < clusterListEnd; at += 4) if (u32At(bytes, at) === id) return true;
  return false;
}

/** RFC 4271 §6.3 first AS, RFC 9234 leaks, RFC 8326 §4.1 the link that is about to go, local-as. */
function importExternal(policy: ImportPolicy, source: Source, a: Attributes): Imported {
  if (policy.enforceFirstAs && neighbourAs(a.asPath) !== source.as)
    return { refused: `the path does not begin with AS ${source.as} (RFC 4271 §6.3)` };
  const checked = policy.role ? receiveOnlyToCustomer(policy.role, source.as, a) : { attributes: a };
  if ("refused" in checked) return checked;
  const goes = hasCommunity(a, communities.gracefulShutdown);
  const localPref = goes ? 0 : defaultLocalPref;
  const shown = policy.trueAs !== undefined && policy.trueAs !== policy.localAs && !policy.noPrepend;
  const asPath = shown ? prepend(a.asPath, policy.localAs) : a.asPath;
  return { attributes: { ...checked.attributes, asPath, localPref } };
}

/** The three loop checks. */
function loop(policy: ImportPolicy, source: Source, a: Attributes): string | undefined {
  if (occurrences(a.asPath, policy.localAs) > policy.allowedLocalAs)
    return `AS loop: our AS ${policy.localAs} is in the path (RFC 4271 §9.1.2)`;
  const { trueAs } = policy;
  if (trueAs !== undefined && occurrences(a.asPath, trueAs) > policy.allowedLocalAs)
    return `AS loop: our AS ${trueAs} is in the path (RFC 4271 §9.1.2)`;
  if (source.kind !== "ibgp") return undefined;
  if (a.originatorId === policy.bgpId) return "reflected back to its originator (RFC 4456 §8)";
  if (policy.clusterId !== undefined && a.clusterList?.includes(policy.clusterId))
    return "our cluster id is in the CLUSTER_LIST (RFC 4456 §8)";
  return undefined;
}

function badNextHop(
  { ownAddresses }: ImportPolicy,
  { nextHop }: Pick<Attributes, "nextHop">,
): string | undefined {
  if (!nextHop) return "no next hop";
  if (ownAddresses.some((own) => sameAddress(own, nextHop.address)))
    return "its next hop is ourselves (RFC 4271 §6.3)";
  if (!isUnicast(nextHop.address)) return "its next hop is no host (RFC 4271 §6.3)";
  return undefined;
}

/** Not 0/8, loopback, multicast or class E; not ::, ::1 or ff00::/8. */
function isUnicast({ family, bits }: Address): boolean {
  if (family === 6) return bits > 1n && bits >> 120n !== 0xffn;
  const first = bits >> 24n;
  return first !== 0n && first !== 127n && first < 224n;
}
