/** Many speakers in one process, each on its own address, over real TCP. */
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { FilterRule, Policy } from "@margay/bgp";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { NetlinkError } from "@margay/netlink";
import { unshared } from "@margay/testing";
import type { Self, WantedPeer } from "./config.ts";
import { Speaker } from "./speaker.ts";
import { eventually } from "./testing/bird.ts";
import { address, block, full, quiet, Speakers, self, states, table, to } from "./testing/speakers.ts";
import type { Connection } from "./transport.ts";

const own6 = { address: parseAddress("fd00::1"), subnet: parsePrefix("fd00::/64") };

unshared(import.meta.url, () => {
  const speakers = new Speakers();
  const start = speakers.start.bind(speakers);
  beforeAll(() => Speakers.addAddresses());
  afterEach(() => speakers.stop());

  test("what is counted: messages, as many as came there; and how long a peer's UPDATE took to others, where it changed anything", async () => {
    const client = { client: true };
    const one = await start(1, [to(1, 2, client), to(1, 3, client)], { me: self(1, { clusterId: 1 }) });
    const two = await start(2, [to(2, 1)]);
    const three = await start(3, [to(3, 1)]);
    await eventually(() => table(three), full(3, [1, 2, 3]));
    const took: string[] = [];
    one.onAdvertised = (seconds, from) => void took.push(`${from.name} ${seconds >= 0 && seconds < 15}`);
    const counts = (s: Speaker, name: string) =>
      [...s.peers.values()].find((p) => p.wanted.name === name)!.counts;
    const before = [counts(one, "n3").messagesOut, counts(three, "n1").messagesIn];
    const many = Array.from({ length: 3000 }, (_, i) => `20.${i >> 8}.${i & 255}.0/24`);
    two.setOrigins(new Map([block(2), ...many].map((b) => [b, parsePrefix(b)])));
    await eventually(() => table(three).length, 3003);
    expect(took).toEqual(["n2 true"]);
    const since = () => [
      counts(one, "n3").messagesOut - before[0]!,
      counts(three, "n1").messagesIn - before[1]!,
    ]; // both are there
    await eventually(() => since()[0] === since()[1], true);
  });

  test("a kernel that cannot tell where a connection came in (Linux before 5.1): closed, and that is said", async () => {
    const said: object[] = [];
    const log = { ...quiet, warn: (fields: object) => void said.push(fields) };
    const one = await start(1, [to(1, 2, { device: "lo", passive: true })], { log });
    for (let i = 0; i < 20; i++) one.accept({ close: () => {} } as unknown as Connection, address(3)); // strangers' own lines
    const err = new NetlinkError("ENOPROTOOPT", "ask where a connection from lo came in");
    const isFrom = () => {
      throw err;
    };
    let closed = 0;
    one.accept({ isFrom, close: () => void closed++ } as unknown as Connection, address(2)); // no more is asked of it
    expect([closed, said]).toEqual([1, [{ event: "accept-failed", peer: "10.0.0.2", err }]]);
  });

  describe("soft reconfiguration", () => {
    const refuse = (text: string): FilterRule => ({
      action: "reject",
      cidr: { prefix: parsePrefix(text), operator: "Equal" },
    });
    const filters = (direction: "import" | "export", rule: FilterRule): Partial<WantedPeer> => {
      const none = { 4: [], 6: [] };
      return { filters: { import: none, export: none, [direction]: { 4: [rule], 6: [] } } };
    };

    test.each(["import", "export"] as const)("another %s policy, the same session", async (direction) => {
      const one = await start(1, [to(1, 2)]);
      const two = await start(2, [to(2, 1)]);
      one.setOrigins(new Map([block(1), block(9)].map((b) => [b, parsePrefix(b)])));
      const all = [block(1), block(9)].map((b) => `${b} via 10.0.0.1`);
      const seen = () => table(two).filter((line) => line.endsWith("via 10.0.0.1"));
      await eventually(seen, all);
      const [side, from, peer] = direction === "import" ? [two, 2, 1] : [one, 1, 2];
      side.setPeers(self(from), new Map([to(from, peer, filters(direction, refuse(block(9))))]));
      await eventually(seen, [`${block(1)} via 10.0.0.1`]);
      side.setPeers(self(from), new Map([to(from, peer)]));
      await eventually(seen, all);
      expect([...one.peers.values(), ...two.peers.values()].map((p) => p.counts.established)).toEqual([1, 1]);
    });

    test("RFC 4486 too many prefixes: warned of, ended with Cease 6/1, let in again after the restart time", async () => {
      const events: string[] = [];
      const log = { ...quiet, warn: (_fields: object, text: string) => void events.push(text) };
      const prefixLimits = { 4: { max: 3, warnPercent: 60, exceeded: { restartSeconds: 1 } } };
      const one = await start(1, [to(1, 2)]);
      const two = await start(2, [to(2, 1, { policyTerms: { prefixLimits } })], { log });
      const origins = (...all: number[]) => new Map(all.map((n) => [block(n), parsePrefix(block(n))]));
      one.setOrigins(origins(1, 8));
      await eventually(() => events, ["n1: prefixes of IPv4 near the limit of 3"]);
      one.setOrigins(origins(1, 8, 9, 10));
      const received = () => [...one.peers.values()][0]?.faults.received?.words;
      await eventually(
        received,
        "Cease: Hard Reset: Cease: Maximum Number of Prefixes Reached: more than 3 prefixes of IPv4",
      );
      expect(states(two)).toEqual(["Idle"]);
      one.setOrigins(origins(1));
      await eventually(() => [states(one), states(two)], [["Established"], ["Established"]]);
    });

    test("policy as data, both ways", async () => {
      const tag: Policy = {
        statements: [
          {
            match: { prefixes: [{ prefix: parsePrefix("10.244.0.0/16"), max: 32 }] },
            set: [{ kind: "add-communities", values: [7] }],
            verdict: "accept",
          },
        ],
        otherwise: "reject",
      };
      const high: Policy = {
        statements: [
          {
            match: { anyCommunity: [7], peers: [parsePrefix("10.0.0.1/32")] },
            set: [{ kind: "local-pref", value: 300 }],
            verdict: "accept",
          },
        ],
        otherwise: "reject",
      };
      const one = await start(1, [to(1, 2, { policyTerms: { export: tag } })]);
      const two = await start(2, [to(2, 1, { policyTerms: { import: high } })]);
      one.setOrigins(new Map(["10.244.1.0/26", "10.99.0.0/16"].map((b) => [b, parsePrefix(b)])));
      const seen = () =>
        [...two.ribs[4].entries()].flatMap(({ prefix, best }) =>
          best?.source.kind === "ibgp"
            ? [[formatPrefix(prefix), best.attributes?.localPref, best.attributes?.communities]]
            : [],
        );
      await eventually(seen, [["10.244.1.0/26", 300, [7]]]);
    });

    test("RFC 4271 §8.1.1 barred for good: one out of a listen range is not let in again as another", async () => {
      const events: string[] = [];
      const log = { ...quiet, warn: (_fields: object, text: string) => void events.push(text) };
      const { address: _, ...template } = to(1, 9)[1];
      const prefixLimits = { 4: { max: 1, warnPercent: 100, exceeded: {} } };
      const range = {
        range: parsePrefix("10.0.0.8/29"),
        limit: 5,
        template: { ...template, policyTerms: { prefixLimits } },
      };
      const one = await start(1, [], { ranges: [range], log });
      const nine = await start(9, [to(9, 1)]);
      nine.setOrigins(new Map([8, 9].map((n) => [block(n), parsePrefix(block(n))])));
      const peer = () => [...nine.peers.values()][0]!;
      await eventually(() => peer().faults.connection?.words, "the peer closed the connection");
      expect(events.filter((text) => text.includes("above"))).toHaveLength(1);
      expect([[...one.peers.keys()], peer().counts.established]).toEqual([["10.0.0.9"], 1]);
    });

    test.each<[string, Partial<Self>, Partial<WantedPeer>]>([
      ["the first route reflection client elsewhere: a cluster ID", { clusterId: 7 }, {}],
      ["the metric of kernel routes", { metric: { 4: 500, 6: 500 } }, {}],
      ["an address of ours in the other family", { addresses: { ...self(1).addresses, 6: own6 } }, {}],
      ["the port that we listen on", { listenPort: 1791 }, {}],
      ["the peer's name", {}, { name: "another" }],
      [
        "how many paths it is told of a prefix",
        {},
        { sessionTerms: { addPath: { send: true, sendMax: 2 } } },
      ],
      ["how long a next session is waited for", {}, { connectRetrySeconds: 2 }],
    ])("%s: no session is reset", async (_why, me, terms) => {
      const several = { sessionTerms: { addPath: { send: true, sendMax: 3 } } };
      const one = await start(1, [to(1, 2, several)]);
      const two = await start(2, [to(2, 1)]);
      await eventually(() => table(one), full(1, [1, 2]));
      const [before] = one.peers.values();
      one.setPeers(self(1, me), new Map([to(1, 2, { ...several, ...terms })]));
      two.setOrigins(new Map([8].map((n) => [block(n), parsePrefix(block(n))])));
      await eventually(() => table(one), [`${block(1)} ours`, `${block(8)} via 10.0.0.2`]);
      expect([...one.peers.values()][0]).toBe(before);
      expect([before?.wanted.name, before?.counts.established]).toEqual([terms.name ?? "n2", 1]);
      const names = [...one.ribs[4].entries()].map(({ best }) => best?.source.name);
      expect(names).toContain(terms.name ?? "n2");
    });

    test("another BGP Identifier resets all", async () => {
      const one = await start(1, [to(1, 2)]);
      const two = await start(2, [to(2, 1)]);
      await eventually(() => states(one), ["Established"]);
      one.setPeers(self(1, { bgpId: 77 }), new Map([to(1, 2)]));
      await eventually(() => [...two.peers.values()].map((p) => p.session.peer?.bgpId), [77]);
    });

    test("what makes the session resets it", async () => {
      const one = await start(1, [to(1, 2)]);
      await start(2, [to(2, 1)]);
      await eventually(() => states(one), ["Established"]);
      const before = [...one.peers.values()][0];
      one.setPeers(self(1), new Map([to(1, 2, { holdTimeSeconds: 30 })]));
      expect([...one.peers.values()][0]).not.toBe(before);
      await eventually(() => states(one), ["Established"]);
    });
  });

  describe("speakers", () => {
    test("a mesh of eight that all dial each other at once comes up, every collision resolved", async () => {
      const all = [1, 2, 3, 4, 5, 6, 7, 8];
      const others = (n: number) => all.filter((m) => m !== n).map((m) => to(n, m));
      // No second dialling within the test: on a slow machine that would be a restart in the other's eyes.
      const mesh = await Promise.all(all.map((n) => start(n, others(n), { retrySeconds: 5 })));
      await eventually(
        () => mesh.map(states),
        all.map(() => ["Established"]),
      );
      await eventually(
        () => mesh.map(table),
        all.map((n) => full(n, all)),
      );
      const flaps = mesh.flatMap((s) => [...s.peers.values()].map((p) => p.counts.flaps));
      expect(flaps.reduce((a, b) => a + b)).toBe(0);
    });

    test("clients of two reflectors know all routes with their true next hops, and none loops", async () => {
      const clients = [3, 4, 5, 6];
      const reflector = (n: number, other: number) =>
        start(n, [to(n, other), ...clients.map((c) => to(n, c, { client: true }))], {
          me: self(n, { clusterId: 77 }),
        });
      const reflectors = [await reflector(1, 2), await reflector(2, 1)];
      const ends = await Promise.all(clients.map((n) => start(n, [to(n, 1), to(n, 2)])));
      const all = [1, 2, ...clients];
      await eventually(
        () => [...reflectors, ...ends].map(table),
        all.map((n) => full(n, all)),
      );
      const paths = ends[0]!.ribs[4].paths(ends[0]!.ribs[4].prefixes.find(parsePrefix(block(4)))!); // both learned
      expect(paths.map((p) => [p.attributes?.originatorId, p.attributes?.clusterList])).toEqual([
        [4, [77]],
        [4, [77]],
      ]);
    });

    test("a peer that ends its session with a Cease is forgotten at once; one that vanishes is kept for its restart time", async () => {
      const one = await start(1, [to(1, 2), to(1, 3)]);
      const two = await start(2, [to(2, 1)]);
      const three = await start(3, [to(3, 1)]);
      await eventually(() => table(one), full(1, [1, 2, 3]));
      two.setPeers(self(2), new Map());
      await eventually(() => table(one), full(1, [1, 3]));
      three.stop();
      await eventually(() => one.peers.get("10.0.0.3")?.session.state === "Established", false);
      expect(table(one)).toEqual(full(1, [1, 3]));
      await eventually(() => table(one), full(1, [1]));
    });

    test("a restarted speaker has decided all its peers' routes before it lets go of the old ones", async () => {
      await start(2, [to(2, 1)]);
      await start(3, [to(3, 1)]);
      const converged: string[][] = [];
      const one: Speaker = new Speaker({
        log: quiet,
        cost: () => 0,
        onChanges: () => {},
        onConverged: () => converged.push(table(one)),
        restarting: true,
      });
      speakers.add(one);
      one.setPeers(self(1), new Map([to(1, 2), to(1, 3)]));
      await eventually(() => one.hasConverged, true);
      expect(converged).toEqual([full(1, [2, 3])]);
    });

    test("a change of one peer's terms does not touch the others", async () => {
      const one = await start(1, [to(1, 2), to(1, 3)]);
      await start(2, [to(2, 1)]);
      await start(3, [to(3, 1)]);
      await eventually(() => table(one), full(1, [1, 2, 3]));
      const untouched = one.peers.get("10.0.0.2");
      one.setPeers(self(1), new Map([to(1, 2), to(1, 3, { nextHop: "self" })]));
      await eventually(() => table(one), full(1, [1, 2, 3]));
      expect(one.peers.get("10.0.0.2")).toBe(untouched);
      expect(untouched?.counts).toMatchObject({ established: 1, flaps: 0 });
    });

    test("an eBGP peer hears of each block with the owner's own next hop, and not of what is not exported", async () => {
      const tor = to(1, 9, { localAs: 64512, peerAs: 65000 });
      const one = await start(1, [to(1, 2), tor]);
      await start(2, [to(2, 1)]);
      one.setExported((prefix) => formatPrefix(prefix) !== block(1));
      const nine = await start(9, [to(9, 1, { localAs: 65000, peerAs: 64512 })], {
        me: self(9, { as: 65000 }),
      });
      await eventually(() => table(nine), [`${block(2)} via 10.0.0.2`, `${block(9)} ours`].sort());
      one.setExported(() => true);
      await eventually(() => table(nine), full(9, [1, 2, 9]));
    });

    test("20,000 routes through a reflector to four clients", async () => {
      const clients = [2, 3, 4, 5];
      await start(
        1,
        clients.map((c) => to(1, c, { client: true })),
        { me: self(1, { clusterId: 1 }) },
      );
      const ends = await Promise.all(clients.map((n) => start(n, [to(n, 1)])));
      const many = Array.from({ length: 20_000 }, (_, i) =>
        parsePrefix(`100.${64 + (i >> 12)}.${(i >> 4) & 255}.${(i & 15) << 4}/28`),
      );
      const began = performance.now();
      ends[0]!.setOrigins(new Map(many.map((p) => [formatPrefix(p), p]))); // four were started
      const counts = () =>
        ends.slice(1).map((s) => s.ribs[4].counts(s.sourceOf([...s.peers.values()][0]!)!).best);
      await eventually(() => states(ends[0]!), ["Established"]);
      await eventually(
        counts,
        [20_003, 20_003, 20_003].map((n) => n),
      );
      process.stderr.write(
        `20,000 routes, four speakers and a reflector in one process: ${Math.round(performance.now() - began)} ms\n`,
      );
    });
  });
});
