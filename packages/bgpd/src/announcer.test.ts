/** Groups whose table is judged in slices: members hear the difference, and nothing that is not so. */
import { expect, test } from "@jest/globals";
import {
  type Attributes,
  Framer,
  type Negotiated,
  packPrefixes,
  prefixesOf,
  Rib,
  readMessage,
  type Source,
} from "@margay/bgp";
import { formatPrefix, parsePrefix } from "@margay/net";
import { Announcer } from "./announcer.ts";
import type { WantedPeer } from "./config.ts";
import type { Peer } from "./peer.ts";
import { address, self, to } from "./testing/speakers.ts";

const prefixes = Array.from({ length: 100 }, (_, i) => parsePrefix(`10.7.${i}.0/24`));
const source = (n: number): Source => ({
  ...{ kind: "ibgp", name: `n${n}`, as: 64512, bgpId: n, address: address(n), client: true },
});
const feeder = source(2);
const attributes: Attributes = { origin: "igp", asPath: [], nextHop: { address: address(9) } };
const rejecting = (...texts: string[]): Partial<WantedPeer> => ({
  filters: {
    import: { 4: [], 6: [] },
    export: {
      4: texts.map((text) => ({
        action: "reject",
        cidr: { prefix: parsePrefix(text), operator: "In" },
      })),
      6: [],
    },
  },
});
const negotiated = { families: [4], as4: true, internal: true } as unknown as Negotiated; // all that is asked for

/** A RIB of 100 prefixes, and a client that is told of them. */
function scene() {
  const ribs = { 4: new Rib({ family: 4, cost: () => 0 }), 6: new Rib({ family: 6, cost: () => 0 }) };
  ribs[4].announce(packPrefixes(4, prefixes), { source: feeder, received: attributes, attributes });
  ribs[4].decide();
  const announcer = new Announcer({ ribs, mayEnd: () => true });
  const heard: string[] = [];
  const send = (bytes: Uint8Array) => {
    for (const frame of new Framer().push(bytes)) {
      const message = readMessage(frame, { as4: true, internal: true, families: [4] });
      if (message.kind !== "update") continue;
      for (const { nlri } of message.announced)
        for (const p of prefixesOf(nlri)) heard.push(`+${formatPrefix(p)}`);
      for (const nlri of message.withdrawn)
        for (const p of prefixesOf(nlri)) heard.push(`-${formatPrefix(p)}`);
      if (message.endOfRib) heard.push("end-of-rib");
    }
  };
  const member = (more: Partial<WantedPeer>) => {
    const wanted = to(1, 3, { client: true, ...more })[1];
    return { peer: { wanted, isReady: true, send } as unknown as Peer, source: client, negotiated }; // all that is asked for
  };
  const client = source(3);
  const turn = (most: number) => {
    announcer.judgeSome(most);
    announcer.send();
    return heard.splice(0).sort();
  };
  return { ribs, announcer, member, client, turn };
}

const all = (sign: string, from = 0, before = 100) =>
  prefixes
    .slice(from, before)
    .map((p) => `${sign}${formatPrefix(p)}`)
    .sort();

test("who joins a new group hears nothing before all is judged, then everything and End-of-RIB", () => {
  const { announcer, member, turn } = scene();
  announcer.join(member(rejecting("10.7.0.0/24")), self(1));
  expect([turn(60), announcer.isSettled]).toEqual([[], false]);
  expect([turn(60), announcer.isSettled]).toEqual([[...all("+", 1), "end-of-rib"], true]);
});

test("another policy: told once all is judged, what is no more first; what changes meanwhile is told by the old one", () => {
  const { ribs, announcer, member, client, turn } = scene();
  announcer.join(member({}), self(1));
  turn(100);
  announcer.move(member(rejecting("10.7.0.0/24")), self(1));
  expect(turn(60)).toEqual([]);
  ribs[4].withdraw(feeder, packPrefixes(4, prefixes.slice(99)));
  announcer.put(4, ribs[4].decide());
  expect(turn(30)).toEqual(["-10.7.99.0/24"]);
  expect(turn(30)).toEqual([...all("+", 1, 99), "-10.7.0.0/24"]);
  expect([announcer.prefixesOut(client), announcer.isSettled]).toEqual([98, true]);
});

test("back to the old policy before the new one was judged: nothing is said", () => {
  const { announcer, member, client, turn } = scene();
  announcer.join(member({}), self(1));
  turn(100);
  announcer.move(member(rejecting("10.7.0.0/16")), self(1));
  turn(60);
  announcer.move(member({}), self(1));
  expect([turn(100), turn(100)]).toEqual([[], []]);
  expect([announcer.prefixesOut(client), announcer.isSettled]).toEqual([100, true]);
});

test("what may leave changes in the middle of a round: each prefix has its turn after that", () => {
  const { announcer, member, turn } = scene();
  announcer.join(member({}), self(1));
  turn(100);
  announcer.setExported(() => false);
  expect(turn(60)).toEqual(all("-", 0, 60));
  announcer.setExported(() => true);
  expect(turn(60)).toEqual(all("+", 0, 20));
  expect(turn(60)).toEqual(all("+", 20, 60));
  expect(announcer.isSettled).toBe(true);
});

test("who left while its group was made is told nothing, and the group goes", () => {
  const { announcer, member, client, turn } = scene();
  announcer.join(member({}), self(1));
  announcer.leave(client);
  expect([turn(100), announcer.isBehind, announcer.isSettled]).toEqual([[], false, true]);
});
