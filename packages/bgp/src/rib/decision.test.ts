import { describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import fc from "fast-check";
import type { Attributes } from "../wire/attributes.ts";
import { decide } from "./decision.ts";
import type { DecisionStep, Route, Source } from "./path.ts";
import { decisionSteps } from "./path.ts";

interface Row extends Omit<Partial<Attributes>, "asPath" | "nextHop"> {
  asPath?: number[];
  hop?: string;
  kind?: Source["kind"];
  id?: number;
  peer?: string;
}

function path({
  asPath = [1],
  hop = "10.0.0.1",
  kind = "ebgp",
  id = 1,
  peer = "10.0.0.1",
  ...rest
}: Row): Route {
  const source: Source = { kind, name: peer, as: 1, bgpId: id, address: parseAddress(peer), client: false };
  const attributes: Attributes = {
    origin: "igp",
    localPref: 100,
    asPath: [{ kind: "sequence", ases: asPath }],
    nextHop: { address: parseAddress(hop) },
    ...rest,
  };
  return { source, received: attributes, attributes };
}

/** The best route, and the step at which each of `routes` lost. */
function decided(routes: readonly Route[], order = routes) {
  const lost = new Map<Route, DecisionStep>();
  const { best } = decide(order, cost, (route, step) => lost.set(route, step));
  return { best, lost: routes.map((r) => lost.get(r)) };
}

/** 10.0.0.x costs x; 10.9.0.0/16 is unreachable. */
const cost = ({ bits }: { bits: bigint }) => (bits >> 16n === 0x0a09n ? undefined : Number(bits & 0xffn));

describe("each step, both orders", () => {
  test.each<[string, DecisionStep, Row, Row]>([
    [
      "§9.1.2.1 an unreachable next hop loses to anything",
      "next-hop",
      { localPref: 1 },
      { localPref: 200, hop: "10.9.0.1" },
    ],
    [
      "RFC 9494 §4.3 any other route beats a long-lived stale one",
      "long-lived-stale",
      { localPref: 1 },
      { localPref: 200, communities: [0xffff0006] },
    ],
    [
      "§9.1.1 higher LOCAL_PREF beats a shorter AS_PATH",
      "local-pref",
      { localPref: 200, asPath: [1, 2, 3] },
      { asPath: [1] },
    ],
    [
      "§9.1.1 our own route beats a learned one, however its peer praises that",
      "locally-originated",
      { kind: "local", asPath: [1, 2] },
      { asPath: [1], localPref: 200 },
    ],
    [
      "§9.1.2.2 a shorter AS_PATH beats a lower ORIGIN",
      "as-path",
      { asPath: [1], origin: "egp" },
      { asPath: [1, 2] },
    ],
    ["§9.1.2.2 b IGP beats EGP, whatever the MED", "origin", { med: 9 }, { origin: "egp" }],
    ["§9.1.2.2 b EGP beats INCOMPLETE", "origin", { origin: "egp" }, { origin: "incomplete" }],
    ["§9.1.2.2 c lower MED from the same AS, though by iBGP", "med", { med: 1, kind: "ibgp" }, { med: 2 }],
    ["§9.1.2.2 c a missing MED is 0", "med", {}, { med: 1 }],
    [
      "§9.1.2.2 c MEDs of different ASes are not compared",
      "ebgp-over-ibgp",
      { asPath: [2], med: 9 },
      { med: 1, kind: "ibgp" },
    ],
    [
      "§9.1.2.2 d eBGP beats iBGP, though the next hop is farther",
      "ebgp-over-ibgp",
      { hop: "10.0.0.9" },
      { kind: "ibgp" },
    ],
    [
      "§9.1.2.2 e the nearer next hop, though the identifier is higher",
      "igp-cost",
      { id: 9 },
      { hop: "10.0.0.2" },
    ],
    [
      "§9.1.2.2 f lower identifier, as an unsigned number",
      "bgp-identifier",
      { id: 0x7f000001 },
      { id: 0xc0000001 },
    ],
    [
      "RFC 4456 §9 ORIGINATOR_ID stands for the identifier",
      "bgp-identifier",
      { id: 9, originatorId: 1 },
      { id: 5 },
    ],
    [
      "RFC 4456 §9 shorter CLUSTER_LIST",
      "cluster-list",
      { clusterList: [1], peer: "10.0.0.9" },
      { clusterList: [1, 2] },
    ],
    [
      "§9.1.2.2 g lower peer address, numerically",
      "peer-address",
      { peer: "10.0.0.9" },
      { peer: "10.0.0.10" },
    ],
  ])("%s", (_why, step, winner, loser) => {
    for (const flip of [false, true]) {
      const [w, l] = [path(winner), path(loser)];
      const { best, lost } = decided([w, l], flip ? [l, w] : [w, l]);
      expect(best).toBe(w);
      expect(lost).toEqual([undefined, step]);
    }
  });
});

test("MED needs elimination over the whole set: pairwise comparison would go round in a circle", () => {
  const a = path({ asPath: [1], med: 2, id: 1 });
  const b = path({ asPath: [2], med: 9, id: 2 });
  const c = path({ asPath: [1], med: 1, id: 3 });
  for (const order of [
    [a, b, c],
    [b, c, a],
    [c, a, b],
    [c, b, a],
  ])
    expect(decided([a, b, c], order)).toEqual({ best: b, lost: ["med", undefined, "bgp-identifier"] });
});

test("ECMP: equal up to step 8, one path for each next hop", () => {
  const same = () => 1;
  const paths = [
    path({ hop: "10.0.0.1", id: 3 }),
    path({ hop: "10.0.0.2", id: 1 }),
    path({ hop: "10.0.0.2", id: 2 }),
    path({ hop: "10.0.0.3", asPath: [1, 2] }),
  ];
  expect(decide(paths, same).equal).toEqual([paths[1], paths[0]]);
});

test("a refused path is no candidate", () => {
  expect(decide([{ ...path({}), attributes: undefined, refused: "AS loop" }], cost).best).toBeUndefined();
});

test("the outcome does not depend on the order of the paths", () => {
  const small = fc.integer({ min: 0, max: 2 });
  const row = fc.record({
    localPref: small,
    med: small,
    asPath: fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 2 }),
    kind: fc.constantFrom("ebgp" as const, "ibgp" as const),
    id: small,
  });
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 6 }), fc.integer(), (rows, seed) => {
      const paths = rows.map((r, i) => path({ ...r, peer: `10.0.1.${i}` }));
      const shuffled = paths.toSorted(
        (a, b) => Math.sin(seed + paths.indexOf(a)) - Math.sin(seed + paths.indexOf(b)),
      );
      expect(decided(paths, shuffled)).toEqual(decided(paths));
    }),
  );
});

test("the steps are numbered without gaps, each with its clause", () => {
  expect(Object.values(decisionSteps).map((s) => s.number)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
  ]);
  for (const { rfc } of Object.values(decisionSteps)) expect(rfc).toMatch(/^RFC \d+ §/);
});
