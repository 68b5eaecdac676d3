/** Import and export policy as data: statements in order, each with conditions, changes and a verdict. */
import { type Address, contains, type Prefix } from "@margay/net";
import type { Source } from "../rib/path.ts";
import { asPathLength, prepend } from "../wire/as-path.ts";
import type { Attributes, NextHop, Origin } from "../wire/attributes.ts";
import { type AsPathPattern, matchesAsPath } from "./as-path-pattern.ts";
import {
  addCommunity,
  type Community,
  clearCommunities,
  hasCommunity,
  removeCommunity,
} from "./community.ts";

export interface Policy {
  readonly statements: readonly Statement[];
  /** When no statement decides. */
  readonly otherwise: "accept" | "reject";
}

export interface Statement {
  /** For people: what decided. */
  readonly name?: string;
  /** All that are given must hold; none: every route. */
  readonly match: Match;
  readonly set?: readonly Change[];
  /** `next`: the changes stay, and later statements decide. */
  readonly verdict: "accept" | "reject" | "next";
}

/** Networks inside `prefix` with a length from `min` to `max`; exactly `prefix` when both are absent. */
export interface PrefixRange {
  readonly prefix: Prefix;
  readonly min?: number;
  readonly max?: number;
}

export interface Match {
  readonly prefixes?: readonly PrefixRange[];
  readonly anyCommunity?: readonly Community[];
  readonly allCommunities?: readonly Community[];
  readonly noCommunity?: readonly Community[];
  readonly asPath?: readonly AsPathPattern[];
  readonly asPathLength?: { readonly min?: number; readonly max?: number };
  readonly nextHop?: readonly Prefix[];
  readonly origin?: Origin;
  /** Where the route was learned. */
  readonly learned?: Source["kind"];
  /** Addresses of the peer that the route comes from (import) or goes to (export). */
  readonly peers?: readonly Prefix[];
  readonly peerAs?: readonly number[];
}

export type Change =
  | { readonly kind: "local-pref"; readonly value: number }
  | { readonly kind: "med"; readonly value: number }
  | { readonly kind: "remove-med" }
  | { readonly kind: "origin"; readonly value: Origin }
  | { readonly kind: "add-communities" | "remove-communities"; readonly values: readonly Community[] }
  | { readonly kind: "set-communities"; readonly values: readonly Community[] }
  | { readonly kind: "prepend"; readonly as: number; readonly times: number }
  | { readonly kind: "next-hop"; readonly value: NextHop | "self" | "peer" };

/** The route at hand, and between whom. */
export interface Judged {
  readonly prefix: Prefix;
  readonly attributes: Attributes;
  readonly learned: Source["kind"];
  readonly peer: { readonly address: Address; readonly as: number };
  /** Our address as next hop, for `next-hop self`. */
  readonly self?: NextHop;
}

export interface Verdict {
  readonly accept: boolean;
  readonly attributes: Attributes;
  /** Name or place of the statement that decided. */
  readonly by: string;
}

/** RFC 8212 §2: without a policy, nothing is taken from nor told to another AS, where that is `required`. */
export const policyWithoutOne = (kind: "ebgp" | "ibgp", required: boolean): Policy => ({
  statements: [],
  otherwise: required && kind === "ebgp" ? "reject" : "accept",
});

/** The first statement that matches and decides. */
export function applyPolicy({ statements, otherwise }: Policy, route: Judged): Verdict {
  let { attributes } = route;
  for (const [i, { name, match, set = [], verdict }] of statements.entries()) {
    if (!matches(match, { ...route, attributes })) continue;
    if (verdict !== "reject") for (const change of set) attributes = apply(change, attributes, route);
    if (verdict !== "next")
      return { accept: verdict === "accept", attributes, by: name ?? `statement ${i + 1}` };
  }
  return { accept: otherwise === "accept", attributes, by: "no statement" };
}

function matches(m: Match, { prefix, attributes: a, learned, peer }: Judged): boolean {
  if (m.prefixes && !m.prefixes.some((range) => inRange(range, prefix))) return false;
  if (m.anyCommunity && !m.anyCommunity.some((c) => hasCommunity(a, c))) return false;
  if (m.allCommunities && !m.allCommunities.every((c) => hasCommunity(a, c))) return false;
  if (m.noCommunity?.some((c) => hasCommunity(a, c))) return false;
  if (m.asPath && !m.asPath.some((pattern) => matchesAsPath(pattern, a.asPath))) return false;
  if (m.asPathLength && !within(m.asPathLength, asPathLength(a.asPath))) return false;
  const hop = a.nextHop?.address;
  if (m.nextHop && !(hop && m.nextHop.some((p) => contains(p, hop)))) return false;
  if (m.origin && m.origin !== a.origin) return false;
  if (m.learned && m.learned !== learned) return false;
  if (m.peers && !m.peers.some((p) => contains(p, peer.address))) return false;
  return !m.peerAs || m.peerAs.includes(peer.as);
}

function inRange({ prefix, min, max }: PrefixRange, route: Prefix): boolean {
  const exact = min === undefined && max === undefined;
  if (!contains(prefix, route)) return false;
  return within({ min: min ?? prefix.length, max: exact ? prefix.length : (max ?? 128) }, route.length);
}

const within = ({ min = 0, max = Number.POSITIVE_INFINITY }: { min?: number; max?: number }, n: number) =>
  n >= min && n <= max;

function apply(change: Change, a: Attributes, { peer, self }: Judged): Attributes {
  switch (change.kind) {
    case "local-pref":
      return { ...a, localPref: change.value };
    case "med":
      return { ...a, med: change.value };
    case "remove-med": {
      const { med: _, ...rest } = a;
      return rest;
    }
    case "origin":
      return { ...a, origin: change.value };
    case "add-communities":
      return change.values.reduce(addCommunity, a);
    case "remove-communities":
      return change.values.reduce(removeCommunity, a);
    case "set-communities":
      return change.values.reduce(addCommunity, clearCommunities(a));
    case "prepend":
      return { ...a, asPath: prepend(a.asPath, change.as, change.times) };
    case "next-hop": {
      const hop = change.value === "self" ? self : change.value === "peer" ? peer : change.value;
      return hop ? { ...a, nextHop: hopOf(hop) } : a;
    }
  }
}

const hopOf = ({ address, linkLocal }: NextHop): NextHop =>
  linkLocal ? { address, linkLocal } : { address };
