/** Import and export policy as resources and files have it, for `@margay/bgp` (pure). */
import type { BGPPolicy } from "@margay/api";
import { type Policy, type PolicyChange, parseAsPathPattern, type Statement } from "@margay/bgp";
import { parseAddress, parsePrefix } from "@margay/net";
import { communityOf } from "./filters.ts";

type Given = BGPPolicy["statements"][number];

const verdicts = { Accept: "accept", Reject: "reject", Next: "next" } as const;

export const policyOf = ({ statements, otherwise }: BGPPolicy): Policy => ({
  statements: statements.map(statementOf),
  otherwise: otherwise === "Accept" ? "accept" : "reject",
});

function statementOf({ name, match, set, action }: Given): Statement {
  const changes = set ? changesOf(set) : [];
  return {
    ...(name === undefined ? {} : { name }),
    match: matchOf(match),
    ...(changes.length > 0 ? { set: changes } : {}),
    verdict: verdicts[action],
  };
}

function matchOf(m: Given["match"]): Statement["match"] {
  const { prefixes, anyCommunity, allCommunities, noCommunity, asPath, nextHop, peers, ...same } = m;
  const { asPathLength, origin, learned, peerAs } = same;
  return {
    ...(prefixes ? { prefixes: prefixes.map(rangeOf) } : {}),
    ...(anyCommunity ? { anyCommunity: anyCommunity.map(communityOf) } : {}),
    ...(allCommunities ? { allCommunities: allCommunities.map(communityOf) } : {}),
    ...(noCommunity ? { noCommunity: noCommunity.map(communityOf) } : {}),
    ...(asPath ? { asPath: asPath.map(parseAsPathPattern) } : {}),
    ...(asPathLength ? { asPathLength: defined(asPathLength) } : {}),
    ...(nextHop ? { nextHop: nextHop.map((p) => parsePrefix(p)) } : {}),
    ...(origin ? { origin } : {}),
    ...(learned ? { learned } : {}),
    ...(peers ? { peers: peers.map((p) => parsePrefix(p)) } : {}),
    ...(peerAs ? { peerAs } : {}),
  };
}

type Bounds = { readonly min?: number | undefined; readonly max?: number | undefined };

const defined = ({ min, max }: Bounds): { readonly min?: number; readonly max?: number } => ({
  ...(min === undefined ? {} : { min }),
  ...(max === undefined ? {} : { max }),
});

const rangeOf = ({ cidr, ...bounds }: { readonly cidr: string } & Bounds) => ({
  prefix: parsePrefix(cidr),
  ...defined(bounds),
});

function changesOf(set: NonNullable<Given["set"]>): PolicyChange[] {
  const { localPref, med, removeMed, origin, prepend, nextHop } = set;
  const communities = (kind: "set" | "remove" | "add"): PolicyChange[] => {
    const values = set[`${kind}Communities`];
    return values ? [{ kind: `${kind}-communities`, values: values.map(communityOf) }] : [];
  };
  return [
    ...(localPref === undefined ? [] : [{ kind: "local-pref", value: localPref } as const]),
    ...(removeMed ? [{ kind: "remove-med" } as const] : []),
    ...(med === undefined ? [] : [{ kind: "med", value: med } as const]),
    ...(origin ? [{ kind: "origin", value: origin } as const] : []),
    ...communities("set"),
    ...communities("remove"),
    ...communities("add"),
    ...(prepend ? [{ kind: "prepend", ...prepend } as const] : []),
    ...(nextHop ? [{ kind: "next-hop", value: nextHopOf(nextHop) } as const] : []),
  ];
}

const nextHopOf = (text: string) =>
  text === "self" || text === "peer" ? text : { address: parseAddress(text) };
