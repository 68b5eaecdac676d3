/** Import and export policy as data: of a BGPPeer, and of a neighbor in bgpd's own file. */
import * as z from "zod";
import { cidr, isAddress, prefixIn } from "../fields/addresses.ts";
import { asNumber } from "../fields/as-number.ts";
import { text } from "../fields/text.ts";
import type { SpecOf } from "../resource.ts";

/** A standard (RFC 1997) or large (RFC 8092) community. */
export const community = text((value) => {
  const parts = value.split(":");
  const limit = parts.length === 3 ? 0xffffffff : 0xffff;
  return (parts.length === 2 || parts.length === 3) &&
    parts.every((part) => /^\d{1,10}$/.test(part) && Number(part) <= limit)
    ? undefined
    : "must be a community: aa:nn of 0 to 65535, or a large one aa:nn:mm of 0 to 4294967295";
});

const place = String.raw`(?:\.|\d{1,10}(?:-\d{1,10})?(?:\|\d{1,10}(?:-\d{1,10})?)*)[?*+]?`;
const PATTERN = new RegExp(String.raw`^\s*\^?\s*(?:${place}(?:\s+${place})*)?\s*\$?\s*$`);

/** Over whole AS numbers: "65000" somewhere, "^65000" at the beginning, "^$" our own, "64512-65534" a range, ". .? .* .+" any. */
const asPathPattern = text((value) =>
  PATTERN.test(value)
    ? undefined
    : 'must be AS numbers, ranges such as 64512-65534, or dots, each with ?, * or + or none, as in "^65000 .* 1$"',
);

const u32 = z.int().min(0).max(0xffffffff);
const communities = z.array(community).min(1).max(50);
const range = z
  .object({
    cidr: cidr().describe("Network."),
    min: z.int().min(0).max(128).optional().describe("Least prefix length."),
    max: z.int().min(0).max(128).optional().describe("Greatest prefix length."),
  })
  .superRefine(({ cidr: within, min, max }, context) => {
    const prefix = prefixIn(within);
    if (!prefix) return;
    const [least, widest] = [min ?? prefix.length, prefix.family === 4 ? 32 : 128];
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (least < prefix.length || least > widest)
      refuse("min", `must be ${prefix.length} to ${widest} inside ${within}`);
    if (max !== undefined && (max < least || max > widest)) refuse("max", `must be ${least} to ${widest}`);
  });

const origin = z.enum(["igp", "egp", "incomplete"]);

const match = z
  .object({
    prefixes: z
      .array(range)
      .min(1)
      .optional()
      .describe("Inside one of these; exactly it when neither min nor max is given."),
    anyCommunity: communities.optional().describe("Bears one of these."),
    allCommunities: communities.optional().describe("Bears all of these."),
    noCommunity: communities.optional().describe("Bears none of these."),
    asPath: z.array(asPathPattern).min(1).optional().describe('Fits one of these, such as "^65000 .*".'),
    asPathLength: z
      .object({
        min: z.int().min(0).max(255).optional().describe("At least."),
        max: z.int().min(0).max(255).optional().describe("At most."),
      })
      .optional()
      .describe("Length of the AS_PATH."),
    nextHop: z.array(cidr()).min(1).optional().describe("Next hop inside one of these."),
    origin: origin.optional().describe("ORIGIN."),
    learned: z.enum(["local", "ibgp", "ebgp"]).optional().describe("Where the route was learned."),
    peers: z.array(cidr()).min(1).optional().describe("Address of the peer inside one of these."),
    peerAs: z.array(asNumber).min(1).optional().describe("AS of the peer."),
  })
  .default({});

const nextHop = text((value) =>
  value === "self" || value === "peer" || isAddress(value) ? undefined : "must be self, peer, or an address",
);

const set = z.object({
  localPref: u32.optional().describe("LOCAL_PREF."),
  med: u32.optional().describe("MULTI_EXIT_DISC."),
  removeMed: z.boolean().optional().describe("Take MULTI_EXIT_DISC out."),
  origin: origin.optional().describe("ORIGIN."),
  addCommunities: communities.optional().describe("Add these."),
  removeCommunities: communities.optional().describe("Take these out."),
  setCommunities: z.array(community).max(50).optional().describe("These and no others."),
  prepend: z
    .object({
      as: asNumber.describe("AS number."),
      times: z.int().min(1).max(20).default(1).describe("How often."),
    })
    .optional()
    .describe("Prepend to the AS_PATH."),
  nextHop: nextHop.optional().describe("self, peer, or an address."),
});

const statement = z
  .object({
    name: z.string().min(1).max(63).optional().describe("For people: named where it decided."),
    match: match.describe("All that are given must hold; none: every route."),
    set: set.optional().describe("Changes to the route."),
    action: z
      .enum(["Accept", "Reject", "Next"])
      .describe("Next: the changes stay and later statements decide."),
  })
  .superRefine((value, context) => {
    if (value.action === "Reject" && value.set)
      context.addIssue({ code: "custom", path: ["set"], message: "must be absent when action is Reject" });
  });

export const bgpPolicy = z.object({
  statements: z.array(statement).max(500).default([]).describe("In order; the first that matches decides."),
  otherwise: z.enum(["Accept", "Reject"]).default("Reject").describe("When no statement decides."),
});

export type BGPPolicy = SpecOf<typeof bgpPolicy>;
