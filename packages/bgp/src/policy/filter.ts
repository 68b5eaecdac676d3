import { contains, type Prefix, samePrefix } from "@margay/net";
import { prepend } from "../wire/as-path.ts";
import type { Attributes } from "../wire/attributes.ts";
import { addCommunity, type Community, hasCommunity } from "./community.ts";

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
  /** Interface towards the next hop; `*` stands for any characters. */
  readonly interface?: string;
  /** Metric of the route in the kernel. */
  readonly priority?: number;
  readonly operations?: readonly FilterOperation[];
}

export type FilterOperation =
  | { readonly kind: "add-community"; readonly value: Community }
  | { readonly kind: "prepend"; readonly ases: readonly number[] }
  | { readonly kind: "set-priority"; readonly value: number };

/** The route at hand and the peer it comes from or goes to. */
export interface Filtered {
  readonly prefix: Prefix;
  readonly attributes: Attributes;
  readonly learned: boolean;
  readonly peerType: "ebgp" | "ibgp";
  /** Interface towards the next hop, where there is one. */
  readonly interface?: string;
  /** Metric that the route has in the kernel unless it says another. */
  readonly priority?: number;
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

function matches(rule: FilterRule, route: Filtered): boolean {
  const { prefix, attributes, learned, peerType } = route;
  const { cidr, prefixLength, community, asPathPrefix } = rule;
  if (cidr && !cidrMatches(cidr, prefix)) return false;
  if (prefixLength && prefix.length < (prefixLength.min ?? 0)) return false;
  if (prefixLength && prefix.length > (prefixLength.max ?? 128)) return false;
  if (rule.fromRemotePeers && !learned) return false;
  if (rule.peerType && rule.peerType !== peerType) return false;
  if (community !== undefined && !hasCommunity(attributes, community)) return false;
  if (rule.interface !== undefined && !globMatches(rule.interface, route.interface)) return false;
  if (rule.priority !== undefined && rule.priority !== (attributes.priority ?? route.priority)) return false;
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

/** The only pattern character is `*`: pieces in order, the first at the start, the last at the end. */
function globMatches(glob: string, name: string | undefined): boolean {
  if (name === undefined) return false;
  const [first = "", ...rest] = glob.split("*");
  const last = rest.pop();
  if (last === undefined) return name === first;
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = name.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

function startsWith({ asPath }: Attributes, wanted: readonly number[]): boolean {
  const ases = asPath.flatMap((s) => (s.kind === "sequence" ? s.ases : []));
  return wanted.every((as, i) => ases[i] === as);
}

function operate(a: Attributes, operation: FilterOperation): Attributes {
  switch (operation.kind) {
    case "add-community":
      return addCommunity(a, operation.value);
    case "set-priority":
      return { ...a, priority: operation.value };
    case "prepend":
      return { ...a, asPath: operation.ases.toReversed().reduce((path, as) => prepend(path, as), a.asPath) };
  }
}
