import { describe, expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import type { Route, Source } from "../rib/path.ts";
import type { Attributes, NextHop } from "../wire/attributes.ts";
import type { Role } from "../wire/capabilities.ts";
import { communities } from "../wire/code-points.ts";
import { notificationOf } from "../wire/notification.ts";
import { AsPathPatternError, matchesAsPath, parseAsPathPattern } from "./as-path-pattern.ts";
import { type ExportPolicy, exporter, exportRoute } from "./export.ts";
import { applyFilter, type FilterRule } from "./filter.ts";
import { type ImportPolicy, importRoute } from "./import.ts";
import { longLived } from "./long-lived.ts";
import { applyPolicy, type Change, type Judged, type Match, policyWithoutOne } from "./policy.ts";
import { limitState, tooManyPrefixes } from "./prefix-limit.ts";

const peer = (kind: Source["kind"], client = false): Source => ({
  kind,
  client,
  name: kind,
  as: kind === "ebgp" ? 65000 : 64512,
  bgpId: 7,
  address: parseAddress("10.0.0.7"),
});
const learned: Attributes = {
  origin: "igp",
  asPath: [{ kind: "sequence", ases: [65000] }],
  nextHop: { address: parseAddress("10.0.0.7") },
  med: 5,
  localPref: 200,
};
const path = (source: Source, attributes: Attributes = learned): Route & { attributes: Attributes } => ({
  source,
  received: attributes,
  attributes,
});

describe("import", () => {
  const policy: ImportPolicy = {
    localAs: 64512,
    bgpId: 1,
    clusterId: 2,
    ownAddresses: [parseAddress("10.0.0.1")],
    allowedLocalAs: 0,
  };
  const looped: Attributes = { ...learned, asPath: [{ kind: "sequence", ases: [65000, 64512] }] };

  test.each<[string, Source, Attributes, RegExp]>([
    ["§9.1.2 our AS in the path", peer("ebgp"), looped, /AS loop/],
    ["RFC 4456 §8 our own route, reflected", peer("ibgp"), { ...learned, originatorId: 1 }, /originator/],
    ["RFC 4456 §8 our cluster in the list", peer("ibgp"), { ...learned, clusterList: [9, 2] }, /cluster id/],
    [
      "§6.3 the next hop is ourselves",
      peer("ibgp"),
      { ...learned, nextHop: { address: parseAddress("10.0.0.1") } },
      /ourselves/,
    ],
    [
      "§6.3 the next hop is multicast",
      peer("ibgp"),
      { ...learned, nextHop: { address: parseAddress("224.0.0.1") } },
      /no host/,
    ],
  ])("refuses: %s", (_why, source, attributes, why) => {
    expect(importRoute(policy, source, attributes)).toEqual({ refused: expect.stringMatching(why) });
  });

  const given = (
    change: Partial<ImportPolicy>,
    attributes: Attributes = learned,
    kind: Source["kind"] = "ebgp",
  ) => {
    const answer = importRoute({ ...policy, ...change }, peer(kind), attributes);
    return "refused" in answer ? answer.refused : answer.attributes;
  };
  const sequence = (...ases: number[]): Attributes["asPath"] => [{ kind: "sequence", ases }];

  test("RFC 4271 §6.3 the path begins with the peer's AS, where that is wanted", () => {
    const other = { ...learned, asPath: sequence(65001, 65000) };
    expect(given({ enforceFirstAs: true }, other)).toMatch(/does not begin with AS 65000/);
    expect(given({}, other)).toMatchObject({ asPath: sequence(65001, 65000) });
    expect(given({ enforceFirstAs: true })).toMatchObject({ asPath: sequence(65000) });
  });

  test("RFC 8326 §4.1 a graceful shutdown makes it the last choice, from outside only", () => {
    const going = { ...learned, communities: [communities.gracefulShutdown] };
    expect(given({}, going)).toMatchObject({ localPref: 0 });
    expect(given({}, going, "ibgp")).toMatchObject({ localPref: 200 });
  });

  test("local-as: shown in what is learned, unless noPrepend; both ASes make a loop", () => {
    const old = { localAs: 64999, trueAs: 64512 };
    expect(given(old)).toMatchObject({ asPath: sequence(64999, 65000) });
    expect(given({ ...old, noPrepend: true })).toMatchObject({ asPath: sequence(65000) });
    expect(given(old, looped)).toMatch(/our AS 64512/);
    expect(given(old, { ...learned, asPath: sequence(65000, 64999) })).toMatch(/our AS 64999/);
  });

  test.each<[string, Role, number | undefined, number | undefined | RegExp]>([
    ["from a customer: no mark", "provider", undefined, undefined],
    ["from a customer with a mark: a leak", "provider", 65000, /leak/],
    ["from a client of our route server with a mark: a leak", "rs", 65000, /leak/],
    ["from a peer of another's mark: a leak", "peer", 65001, /leak/],
    ["from a peer with its own mark", "peer", 65000, 65000],
    ["from a peer without: its AS", "peer", undefined, 65000],
    ["from a provider without: its AS", "customer", undefined, 65000],
    ["from a provider with any mark", "customer", 65001, 65001],
    ["from a route server without: its AS", "rs-client", undefined, 65000],
  ])("RFC 9234 §5 ingress, %s", (_why, role, onlyToCustomer, expected) => {
    const answer = given({ role }, onlyToCustomer === undefined ? learned : { ...learned, onlyToCustomer });
    if (expected instanceof RegExp) expect(answer).toMatch(expected);
    else expect((answer as Attributes).onlyToCustomer).toBe(expected); // not refused
  });

  test("our AS may stand in the path as often as allowed", () => {
    expect(importRoute({ ...policy, allowedLocalAs: 1 }, peer("ebgp"), looped)).toHaveProperty("attributes");
  });

  test.each<[string, Source, number | undefined, number]>([
    ["from outside it is ours to give (§5.1.5)", peer("ebgp"), 200, 100],
    ["from inside it stands", peer("ibgp"), 200, 200],
    ["from inside without one: 100", peer("ibgp"), undefined, 100],
  ])("LOCAL_PREF %s", (_why, source, localPref, expected) => {
    expect(importRoute(policy, source, { ...learned, localPref })).toMatchObject({
      attributes: { localPref: expected },
    });
  });
});

describe("export", () => {
  const own = { address: parseAddress("10.0.0.1") };
  const external: ExportPolicy = {
    to: "ebgp",
    localAs: 64512,
    client: false,
    self: { 4: own },
    nextHop: "auto",
  };
  const internal: ExportPolicy = { ...external, to: "ibgp" };
  const reflector: ExportPolicy = { ...internal, clusterId: 0x01010101 };
  const { nextHop: _none, med: _med, ...bare } = learned;
  const ours: Attributes = { ...bare, asPath: [] };

  test.each<[string, ExportPolicy, Route & { attributes: Attributes }, RegExp]>([
    ["§9.2.1 iBGP routes do not go to iBGP", internal, path(peer("ibgp")), /split horizon/],
    ["RFC 4456 §6 nor from non-client to non-client", reflector, path(peer("ibgp")), /split horizon/],
    [
      "RFC 1997 NO_ADVERTISE goes to nobody",
      internal,
      path(peer("ebgp"), { ...learned, communities: [communities.noAdvertise] }),
      /NO_ADVERTISE/,
    ],
    [
      "RFC 1997 NO_EXPORT stays in the AS",
      external,
      path(peer("ibgp"), { ...learned, communities: [communities.noExport] }),
      /NO_EXPORT/,
    ],
    [
      "no address of ours in that family",
      { ...external, self: {} },
      path(peer("local"), ours),
      /no next hop/,
    ],
  ])("refuses: %s", (_why, policy, route, why) => {
    expect(exportRoute(policy, route, 4)).toEqual({ refused: expect.stringMatching(why) });
  });

  test.each<[string, ExportPolicy, Route & { attributes: Attributes }, Attributes]>([
    [
      "§5.1 eBGP: our AS in front, our next hop, no LOCAL_PREF, no MED of others",
      external,
      path(peer("ibgp"), { ...learned, originatorId: 3, clusterList: [4] }),
      { origin: "igp", asPath: [{ kind: "sequence", ases: [64512, 65000] }], nextHop: own },
    ],
    [
      "our own route to iBGP: our next hop and a LOCAL_PREF",
      internal,
      path(peer("local"), ours),
      { ...ours, nextHop: own, localPref: 200 },
    ],
    ["an eBGP route to iBGP keeps its next hop and MED", internal, path(peer("ebgp")), learned],
    [
      "RFC 4456 §8 a reflected route: originator, our cluster in front, next hop unchanged",
      { ...reflector, client: true },
      path(peer("ibgp"), { ...learned, clusterList: [9] }),
      { ...learned, originatorId: 7, clusterList: [0x01010101, 9] },
    ],
    [
      "from a client to a non-client, the first originator stands",
      reflector,
      path(peer("ibgp", true), { ...learned, originatorId: 3 }),
      { ...learned, originatorId: 3, clusterList: [0x01010101] },
    ],
    [
      "§5.1.3 third party: a next hop in the subnet that we share with the peer stays",
      { ...external, shared: parsePrefix("10.0.0.0/24") },
      path(peer("ibgp")),
      { origin: "igp", asPath: [{ kind: "sequence", ases: [64512, 65000] }], nextHop: learned.nextHop! }, // given above
    ],
    ["nextHop self", { ...internal, nextHop: "self" }, path(peer("ebgp")), { ...learned, nextHop: own }],
    [
      "nextHop keep to eBGP",
      { ...external, nextHop: "keep" },
      path(peer("ebgp")),
      { origin: "igp", asPath: [{ kind: "sequence", ases: [64512, 65000] }], nextHop: learned.nextHop! }, // given above
    ],
  ])("%s", (_why, policy, route, expected) => {
    expect(exportRoute(policy, route, 4)).toEqual({ attributes: expected });
  });

  const told = (policy: Partial<ExportPolicy>, attributes: Attributes, family: 4 | 6 = 4) => {
    const answer = exportRoute({ ...external, ...policy }, path(peer("ibgp"), attributes), family);
    return "refused" in answer ? answer.refused : answer.attributes;
  };
  const sequence = (...ases: number[]): Attributes["asPath"] => [{ kind: "sequence", ases }];

  test.each<[string, Role, number | undefined, number | undefined | RegExp]>([
    ["to a customer without a mark: ours", "provider", undefined, 64512],
    ["to a customer with one", "provider", 65001, 65001],
    ["to a client of our route server without: ours", "rs", undefined, 64512],
    ["to a peer without: ours", "peer", undefined, 64512],
    ["to a peer with one: no", "peer", 65001, /customers alone/],
    ["to a provider without", "customer", undefined, undefined],
    ["to a provider with one: no", "customer", 65001, /customers alone/],
    ["to a route server with one: no", "rs-client", 65001, /customers alone/],
  ])("RFC 9234 §5 egress, %s", (_why, role, onlyToCustomer, expected) => {
    const answer = told({ role }, onlyToCustomer === undefined ? learned : { ...learned, onlyToCustomer });
    if (expected instanceof RegExp) expect(answer).toMatch(expected);
    else expect((answer as Attributes).onlyToCustomer).toBe(expected); // not refused
  });

  test.each<[string, Partial<ExportPolicy>, Attributes["asPath"], Attributes["asPath"]]>([
    [
      "local-as in front of our own",
      { localAs: 64999, trueAs: 64512 },
      sequence(65000),
      sequence(64999, 64512, 65000),
    ],
    [
      "local-as alone",
      { localAs: 64999, trueAs: 64512, replaceAs: true },
      sequence(65000),
      sequence(64999, 65000),
    ],
    ["remove-private-as", { removePrivateAs: "remove" }, sequence(65000, 7, 4200000000), sequence(64512, 7)],
    ["all of them", { removePrivateAs: "remove" }, sequence(65000), sequence(64512)],
    ["replace-private-as", { removePrivateAs: "replace" }, sequence(65000, 7), sequence(64512, 64512, 7)],
    [
      "RFC 5065 §5.3 confederation segments stay inside",
      {},
      [{ kind: "confedSequence", ases: [65100] }, ...sequence(7)],
      sequence(64512, 7),
    ],
  ])("AS_PATH: %s", (_why, policy, learnedPath, expected) => {
    expect(told(policy, { ...learned, asPath: learnedPath })).toMatchObject({ asPath: expected });
  });

  const six = { address: parseAddress("2001:db8:2::9"), linkLocal: parseAddress("fe80::9") };
  const alone = { address: parseAddress("fe80::9") };
  const self6 = { address: parseAddress("2001:db8::1") };
  test.each<[string, Partial<ExportPolicy>, NextHop, NextHop]>([
    ["to iBGP: the global one alone", internal, six, { address: six.address }],
    ["the peer is on that link: both", { ...internal, shared: parsePrefix("2001:db8:2::/64") }, six, six],
    ["to eBGP on that link: both", { shared: parsePrefix("2001:db8:2::/64") }, six, six],
    ["kept, for a peer elsewhere", { nextHop: "keep" }, six, { address: six.address }],
    ["learned without a global one: ours, to iBGP too", internal, alone, self6],
    ["learned without a global one: ours, where it would be kept", { nextHop: "keep" }, alone, self6],
  ])(
    "RFC 2545 §3 a link-local next hop goes no farther than its link: %s",
    (_why, policy, nextHop, expected) => {
      const route = path(peer("ebgp"), { ...learned, nextHop });
      const answer = exportRoute({ ...external, ...policy, self: { 6: self6 } }, route, 6);
      expect("attributes" in answer && answer.attributes.nextHop).toEqual(expected);
    },
  );

  test("RFC 8950 an IPv4 route goes with our IPv6 address where that was agreed, else not", () => {
    const self = { 6: { address: parseAddress("2001:db8::1") } };
    expect(told({ self, extendedNextHop: true }, learned)).toMatchObject({ nextHop: self[6] });
    expect(told({ self }, learned)).toMatch(/no next hop of ours/);
    const byIpv6 = { ...learned, nextHop: self[6] };
    expect(told({ nextHop: "keep" }, byIpv6)).toMatchObject({ nextHop: own });
    expect(told({ nextHop: "keep", extendedNextHop: true }, byIpv6)).toMatchObject({ nextHop: self[6] });
  });

  test("RFC 9494 §4.6 long-lived stale routes go to those who know them", () => {
    const kept = longLived(learned);
    expect(kept).toEqual({ attributes: { ...learned, communities: [communities.llgrStale] } });
    expect(longLived({ ...learned, communities: [communities.noLlgr] })).toHaveProperty("refused");
    const stale = { ...learned, communities: [communities.llgrStale] };
    expect(told({}, stale)).toMatch(/RFC 9494/);
    expect(told({ longLived: true }, stale)).toHaveProperty("communities");
  });

  test("the same route gives the same object, which an update group knows again at once", () => {
    const out = exporter(external, 4);
    const route = path(peer("ebgp"));
    expect(out(route)).toBe(out(route));
  });
});

describe("filters, first match wins", () => {
  const route = {
    prefix: parsePrefix("10.1.2.0/24"),
    attributes: learned,
    learned: true,
    peerType: "ebgp",
    interface: "eth0",
    priority: 1024,
  } as const;
  const cidr = (text: string, operator: "Equal" | "NotEqual" | "In" | "NotIn") => ({
    prefix: parsePrefix(text),
    operator,
  });
  test.each<[string, Partial<FilterRule>, boolean]>([
    ["no condition matches all", {}, true],
    ["Equal is exact", { cidr: cidr("10.1.0.0/16", "Equal") }, false],
    ["NotEqual", { cidr: cidr("10.1.0.0/16", "NotEqual") }, true],
    ["In is inside", { cidr: cidr("10.1.0.0/16", "In") }, true],
    ["NotIn", { cidr: cidr("10.1.0.0/16", "NotIn") }, false],
    ["prefix length within bounds", { prefixLength: { min: 24, max: 24 } }, true],
    ["prefix length below", { prefixLength: { min: 25 } }, false],
    ["learned by BGP", { fromRemotePeers: true }, true],
    ["peer type", { peerType: "ibgp" }, false],
    ["community", { community: 1 }, false],
    ["AS path prefix", { asPathPrefix: [65000] }, true],
    ["interface, exactly", { interface: "eth0" }, true],
    ["interface, by a pattern", { interface: "et*0" }, true],
    ["a pattern's ends do not overlap", { interface: "eth*h0" }, false],
    ["another interface", { interface: "cali*" }, false],
    ["kernel metric", { priority: 1024 }, true],
    ["another kernel metric", { priority: 512 }, false],
    ["all conditions must hold", { asPathPrefix: [65000], peerType: "ibgp" }, false],
  ])("%s", (_why, condition, matched) => {
    const verdict = applyFilter([{ action: "reject", ...condition }], route);
    expect(verdict?.accept).toBe(matched ? false : undefined);
  });

  test("operations of an accepting rule", () => {
    const rule: FilterRule = {
      action: "accept",
      operations: [
        { kind: "add-community", value: [1, 2, 3] },
        { kind: "add-community", value: 77 },
        { kind: "prepend", ases: [1, 2] },
        { kind: "set-priority", value: 512 },
      ],
    };
    expect(applyFilter([rule], route)?.attributes).toEqual({
      ...learned,
      priority: 512,
      communities: [77],
      largeCommunities: [[1, 2, 3]],
      asPath: [{ kind: "sequence", ases: [1, 2, 65000] }],
    });
  });
});

describe("AS path patterns, over whole AS numbers", () => {
  const path: Attributes["asPath"] = [
    { kind: "confedSequence", ases: [65100] },
    { kind: "sequence", ases: [65000, 65000, 7] },
    { kind: "set", ases: [1, 2] },
  ];
  test.each<[string, boolean]>([
    ["65000", true],
    ["6500", false],
    ["^65000", true],
    ["^7", false],
    ["7", true],
    ["2$", true],
    ["7$", false],
    ["^65000+ 7 .$", true],
    ["^65000 7 .$", false],
    ["^65000 .* 1$", true],
    ["64512-65534", true],
    ["^64512-65534 9? 65000 7 1|3$", true],
    ["8|9", false],
    ["^$", false],
    ["", true],
    ["65100", false],
    ["^. . . .$", true],
    ["^. . .$", false],
  ])("%s: %s", (pattern, matched) => {
    expect(matchesAsPath(parseAsPathPattern(pattern), path)).toBe(matched);
  });
  test("our own routes have an empty path", () => {
    expect(matchesAsPath(parseAsPathPattern("^$"), [])).toBe(true);
  });
  test.each(["a", "5-1", "4294967296", "1-", "(1 2)"])("%s is no pattern", (text) => {
    expect(() => parseAsPathPattern(text)).toThrow(AsPathPatternError);
  });
  test("a long path costs no more than its length times the pattern's", () => {
    const long = [{ kind: "sequence" as const, ases: new Array<number>(10_000).fill(1) }];
    expect(matchesAsPath(parseAsPathPattern("^1* 1* 1* 1* 1* 1* 1* 1* 2$"), long)).toBe(false);
  });
});

describe("policy as data", () => {
  const route: Judged = {
    prefix: parsePrefix("10.1.2.0/24"),
    attributes: {
      ...learned,
      communities: [1],
      largeCommunities: [[1, 2, 3]],
      extendedCommunities: [9n],
    },
    learned: "ebgp",
    peer: { address: parseAddress("10.0.0.7"), as: 65000 },
    self: { address: parseAddress("10.0.0.1") },
  };
  const range = (text: string, bounds: { min?: number; max?: number } = {}) => [
    { prefix: parsePrefix(text), ...bounds },
  ];
  test.each<[string, Match, boolean]>([
    ["nothing asked", {}, true],
    ["a prefix is exact", { prefixes: range("10.1.0.0/16") }, false],
    ["the prefix itself", { prefixes: range("10.1.2.0/24") }, true],
    ["ge: from a length up", { prefixes: range("10.1.0.0/16", { min: 24 }) }, true],
    ["ge above", { prefixes: range("10.1.0.0/16", { min: 25 }) }, false],
    ["le: up to a length", { prefixes: range("10.0.0.0/8", { max: 24 }) }, true],
    ["le below", { prefixes: range("10.0.0.0/8", { max: 23 }) }, false],
    ["one of several prefixes", { prefixes: [...range("192.0.2.0/24"), ...range("10.1.2.0/24")] }, true],
    ["any community", { anyCommunity: [5, [1, 2, 3]] }, true],
    ["all communities", { allCommunities: [1, 9n, [1, 2, 3]] }, true],
    ["not all", { allCommunities: [1, 5] }, false],
    ["none of them", { noCommunity: [5] }, true],
    ["one of them", { noCommunity: [1] }, false],
    ["AS path", { asPath: [parseAsPathPattern("^65000$")] }, true],
    ["AS path length", { asPathLength: { max: 0 } }, false],
    ["next hop", { nextHop: [parsePrefix("10.0.0.0/24")] }, true],
    ["another next hop", { nextHop: [parsePrefix("10.9.0.0/24")] }, false],
    ["origin", { origin: "egp" }, false],
    ["learned by eBGP", { learned: "ebgp" }, true],
    ["peer", { peers: [parsePrefix("10.0.0.7/32")] }, true],
    ["peer AS", { peerAs: [65001] }, false],
  ])("match: %s", (_why, match, matched) => {
    const { accept } = applyPolicy(
      { statements: [{ match, verdict: "accept" }], otherwise: "reject" },
      route,
    );
    expect(accept).toBe(matched);
  });

  const { med: _m, ...withoutMed } = route.attributes;
  const { communities: _c, ...withoutCommunity } = route.attributes;
  const { largeCommunities: _l, extendedCommunities: _e, ...bare } = withoutCommunity;
  test.each<[string, Change, Attributes]>([
    ["LOCAL_PREF", { kind: "local-pref", value: 7 }, { ...route.attributes, localPref: 7 }],
    ["MED", { kind: "med", value: 7 }, { ...route.attributes, med: 7 }],
    ["no MED", { kind: "remove-med" }, withoutMed],
    ["ORIGIN", { kind: "origin", value: "incomplete" }, { ...route.attributes, origin: "incomplete" }],
    [
      "add communities, each once",
      { kind: "add-communities", values: [1, 2, 10n] },
      { ...route.attributes, communities: [1, 2], extendedCommunities: [9n, 10n] },
    ],
    [
      "remove the last community: the attribute goes",
      { kind: "remove-communities", values: [1] },
      withoutCommunity,
    ],
    ["remove large and extended ones", { kind: "remove-communities", values: [[1, 2, 3], 9n, 1] }, bare],
    ["set communities", { kind: "set-communities", values: [8] }, { ...bare, communities: [8] }],
    [
      "prepend",
      { kind: "prepend", as: 5, times: 2 },
      { ...route.attributes, asPath: [{ kind: "sequence", ases: [5, 5, 65000] }] },
    ],
    ["next-hop self", { kind: "next-hop", value: "self" }, { ...route.attributes, nextHop: route.self! }], // given above
    [
      "next-hop peer",
      { kind: "next-hop", value: "peer" },
      { ...route.attributes, nextHop: { address: route.peer.address } },
    ],
  ])("set: %s", (_why, change, expected) => {
    const policy = {
      statements: [{ match: {}, set: [change], verdict: "accept" }],
      otherwise: "reject",
    } as const;
    expect(applyPolicy(policy, route)).toEqual({ accept: true, attributes: expected, by: "statement 1" });
  });

  test("`next` keeps the changes for later statements; the first that decides is named", () => {
    const verdict = applyPolicy(
      {
        statements: [
          { match: {}, set: [{ kind: "add-communities", values: [77] }], verdict: "next" },
          { name: "tagged", match: { anyCommunity: [77] }, verdict: "accept" },
          { match: {}, verdict: "reject" },
        ],
        otherwise: "reject",
      },
      route,
    );
    expect([verdict.accept, verdict.by, verdict.attributes.communities]).toEqual([true, "tagged", [1, 77]]);
  });

  test.each<["ebgp" | "ibgp", boolean, boolean]>([
    ["ebgp", true, false],
    ["ebgp", false, true],
    ["ibgp", true, true],
  ])("RFC 8212 §2 without a policy, %s, required %s: accepted %s", (kind, required, accept) => {
    expect(applyPolicy(policyWithoutOne(kind, required), route).accept).toBe(accept);
  });
});

describe("prefix limits, RFC 4486", () => {
  const limit = { max: 1000, warnPercent: 80, exceeded: { restartSeconds: 900 } };
  test.each([
    [799, "below"],
    [800, "near"],
    [1000, "near"],
    [1001, "above"],
  ])("%s prefixes of 1000: %s", (count, state) => expect(limitState(limit, count)).toBe(state));
  test("§4 the Cease says family and limit", () => {
    expect(notificationOf(tooManyPrefixes(4, limit))).toEqual({
      kind: "notification",
      code: 6,
      subcode: 1,
      data: Uint8Array.from([0, 1, 1, 0, 0, 3, 232]),
    });
  });
});
