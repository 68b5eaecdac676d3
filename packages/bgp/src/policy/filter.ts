import { contains, type Prefix, samePrefix } from "@margay/net";
import { prepend } from "../wire/as-path.ts";
import type { Attributes, LargeCommunity } from "../wire/attributes.ts";

/** A community to match or add: standard as its 32 bits, or large. */
export type Community = number | LargeCommunity;

/** One rule, in the words of Calico's BGPFilter; all conditions given must hold. */
export interface FilterRule {
  readonly action: "accept" | "reject";
  readonly cidr?: { readonly prefix: Prefix; readonly operator: "Equal" | "NotEqual" | "In" | "NotIn" };
  /** Bounds on the route's prefix length, inclusive. */
  readonly prefixLength?: { readonly min?: number; readonly max?: number };
  /** Learned by BGP, not originated here. */
  readonly fromRemotePeers?: boolean;
  readonly peerType?: "ebgp" | "ibgp";
  readonly community?: Community;
  /** The path starts with these ASes. */
  readonly asPathPrefix?: readonly number[];
  readonly operations?: readonly FilterOperation[];
}

export type FilterOperation =
  | { readonly kind: "add-community"; readonly value: Community }
  | { readonly kind: "prepend"; readonly ases: readonly number[] };

/** The route at hand and the peer it comes from or goes to. */
export interface Filtered {
  readonly prefix: Prefix;
  readonly attributes: Attributes;
  readonly learned: boolean;
  readonly peerType: "ebgp" | "ibgp";
}

/** First match wins. Undefined when no rule matches: the next filter, then the default, decides. */
export function applyFilter(
  rules: readonly FilterRule[],
  route: Filtered,
): { accept: boolean; attributes: Attributes } | undefined {
  const rule = rules.find((r) => matches(r, route));
  if (!rule) return undefined;
  const operations = rule.action === "accept" ? (rule.operations ?? []) : [];
  return { accept: rule.action === "accept", attributes: operations.reduce(operate, route.attributes) };
}

function matches(rule: FilterRule, { prefix, attributes, learned, peerType }: Filtered): boolean {
  const { cidr, prefixLength, community, asPathPrefix } = rule;
  if (cidr && !cidrMatches(cidr, prefix)) return false;
  if (prefixLength && prefix.length < (prefixLength.min ?? 0)) return false;
  if (prefixLength && prefix.length > (prefixLength.max ?? 128)) return false;
  if (rule.fromRemotePeers && !learned) return false;
  if (rule.peerType && rule.peerType !== peerType) return false;
  if (community !== undefined && !hasCommunity(attributes, community)) return false;
  return !asPathPrefix || startsWith(attributes, asPathPrefix);
}

function cidrMatches({ prefix, operator }: NonNullable<FilterRule["cidr"]>, route: Prefix): boolean {
  switch (operator) {
    case "Equal":
      return samePrefix(prefix, route);
    case "NotEqual":
      return !samePrefix(prefix, route);
    case "In":
      return contains(prefix, route);
    case "NotIn":
      return !contains(prefix, route);
  }
}

const hasCommunity = (a: Attributes, c: Community): boolean =>
  typeof c === "number"
    ? (a.communities?.includes(c) ?? false)
    : (a.largeCommunities?.some((l) => l.every((part, i) => part === c[i])) ?? false);

function startsWith({ asPath }: Attributes, wanted: readonly number[]): boolean {
  const ases = asPath.flatMap((s) => (s.kind === "sequence" ? s.ases : []));
  return wanted.every((as, i) => ases[i] === as);
}

function operate(a: Attributes, operation: FilterOperation): Attributes {
  switch (operation.kind) {
    case "add-community":
      return hasCommunity(a, operation.value) ? a : addCommunity(a, operation.value);
    case "prepend":
      return { ...a, asPath: operation.ases.toReversed().reduce((path, as) => prepend(path, as), a.asPath) };
  }
}

/** Adds one community; the list stays a list, not a set (RFC 1997 leaves the order open). */
export const addCommunity = (a: Attributes, c: Community): Attributes =>
  typeof c === "number"
    ? { ...a, communities: [...(a.communities ?? []), c] }
    : { ...a, largeCommunities: [...(a.largeCommunities ?? []), c] };
