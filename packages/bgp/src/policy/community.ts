import type { Attributes, LargeCommunity } from "../wire/attributes.ts";

/** A community: standard as its 32 bits (RFC 1997), extended as its 64 (RFC 4360), or large (RFC 8092). */
export type Community = number | bigint | LargeCommunity;

export function hasCommunity(a: Attributes, c: Community): boolean {
  switch (typeof c) {
    case "number":
      return a.communities?.includes(c) ?? false;
    case "bigint":
      return a.extendedCommunities?.includes(c) ?? false;
    default:
      return a.largeCommunities?.some((l) => sameLarge(l, c)) ?? false;
  }
}

const sameLarge = (a: LargeCommunity, b: LargeCommunity): boolean => a.every((part, i) => part === b[i]);

/** Adds one community unless it is there; the list stays a list, not a set (RFC 1997 leaves the order open). */
export function addCommunity(a: Attributes, c: Community): Attributes {
  if (hasCommunity(a, c)) return a;
  switch (typeof c) {
    case "number":
      return { ...a, communities: [...(a.communities ?? []), c] };
    case "bigint":
      return { ...a, extendedCommunities: [...(a.extendedCommunities ?? []), c] };
    default:
      return { ...a, largeCommunities: [...(a.largeCommunities ?? []), c] };
  }
}

/** Takes one community out. An attribute without a member goes (RFC 7606 §7.8: empty ones are malformed). */
export function removeCommunity(a: Attributes, c: Community): Attributes {
  if (!hasCommunity(a, c)) return a;
  const { communities, extendedCommunities, largeCommunities, ...rest } = a;
  return {
    ...rest,
    ...lists({
      communities: communities?.filter((x) => x !== c),
      extendedCommunities: extendedCommunities?.filter((x) => x !== c),
      largeCommunities: largeCommunities?.filter((x) => typeof c !== "object" || !sameLarge(x, c)),
    }),
  };
}

/** Takes all communities out. */
export function clearCommunities(a: Attributes): Attributes {
  const { communities: _c, extendedCommunities: _e, largeCommunities: _l, ...rest } = a;
  return rest;
}

type Lists = Pick<Attributes, "communities" | "extendedCommunities" | "largeCommunities">;

const lists = (all: { [K in keyof Lists]: Lists[K] | undefined }): Lists =>
  Object.fromEntries(Object.entries(all).filter(([, list]) => list && list.length > 0));
