import { describe, expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import type { Path, Source } from "../rib/path.ts";
import type { Attributes } from "../wire/attributes.ts";
import { communities } from "../wire/code-points.ts";
import { type ExportPolicy, exporter, exportRoute } from "./export.ts";
import { applyFilter, type FilterRule } from "./filter.ts";
import { type ImportPolicy, importRoute } from "./import.ts";

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
const path = (source: Source, attributes: Attributes = learned): Path & { attributes: Attributes } => ({
  source,
  received: attributes,
  attributes,
  stale: false,
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
    [
      "RFC 7607 AS 0 in the path",
      peer("ebgp"),
      { ...learned, asPath: [{ kind: "sequence", ases: [0] }] },
      /AS 0/,
    ],
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

  test.each<[string, ExportPolicy, Path & { attributes: Attributes }, RegExp]>([
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

  test.each<[string, ExportPolicy, Path & { attributes: Attributes }, Attributes]>([
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

  test("equal answers are one object, whatever they came from", () => {
    const out = exporter(external, 4);
    const [first, second] = [out(path(peer("ebgp"))), out(path(peer("ebgp"), { ...learned, localPref: 1 }))];
    expect(first).toBe(second);
  });
});

describe("filters, first match wins", () => {
  const route = {
    prefix: parsePrefix("10.1.2.0/24"),
    attributes: learned,
    learned: true,
    peerType: "ebgp",
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
      ],
    };
    expect(applyFilter([rule], route)?.attributes).toEqual({
      ...learned,
      communities: [77],
      largeCommunities: [[1, 2, 3]],
      asPath: [{ kind: "sequence", ases: [1, 2, 65000] }],
    });
  });
});
