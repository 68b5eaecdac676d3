import { expect, test } from "@jest/globals";
import { type Attributes, packPrefixes, Rib, type Source } from "@margay/bgp";
import { parsePrefix } from "@margay/net";
import type { WantedPeer } from "./config.ts";
import { Learner } from "./learner.ts";
import { address, self, to } from "./testing/speakers.ts";

test("judged again over and over: the last prefix of the last source has its turn", () => {
  const ribs = { 4: new Rib({ family: 4, cost: () => 0 }), 6: new Rib({ family: 6, cost: () => 0 }) };
  const learner = new Learner(ribs);
  const prefixes = Array.from({ length: 100 }, (_, i) => parsePrefix(`10.7.${i}.0/24`));
  const sources = [2, 3].map((n): [Source, WantedPeer] => {
    const source: Source = {
      ...{ kind: "ibgp", name: `n${n}`, as: 64512, bgpId: n, address: address(n), client: false },
    };
    const attributes: Attributes = { origin: "igp", asPath: [], nextHop: { address: address(n) } };
    const [, wanted] = to(1, n);
    learner.begin(source, wanted, self(1));
    ribs[4].announce(packPrefixes(4, prefixes), { source, received: attributes, attributes });
    return [source, wanted];
  });
  const none = { 4: [], 6: [] };
  const filters = { import: { 4: [{ action: "reject" as const }], 6: [] }, export: none };
  for (let turn = 0; turn < 10; turn++) {
    for (const [source, wanted] of sources) learner.relearn(source, { ...wanted, filters }, self(1));
    learner.judgeSome(30);
  }
  expect(ribs[4].paths(99).map(({ refused }) => refused)).toEqual([
    "refused by a BGPFilter",
    "refused by a BGPFilter",
  ]);
  for (let turn = 0; turn < 14; turn++) learner.judgeSome(30); // what is due still, and once more: 400
  expect(learner.isBehind).toBe(false);
});
