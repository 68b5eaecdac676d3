import { describe, expect, test } from "@jest/globals";
import { formatPrefix, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import fc from "fast-check";
import type { Attributes } from "../wire/attributes.ts";
import { Framer } from "../wire/framer.ts";
import { readMessage } from "../wire/message.ts";
import { packPrefixes, prefixesOf } from "../wire/nlri.ts";
import type { Route, Source } from "./path.ts";
import { PrefixTable } from "./prefix-table.ts";
import { Rib } from "./rib.ts";
import { UpdateGroup } from "./update-group.ts";

const source = (n: number, client = false): Source => ({
  kind: "ibgp",
  name: `n${n}`,
  as: 64512,
  bgpId: n,
  address: parseAddress(`10.0.0.${n}`),
  client,
});
const route = (med: number): Attributes => ({
  origin: "igp",
  asPath: [],
  nextHop: { address: parseAddress("10.0.0.1") },
  med,
});
const nlri = (...texts: string[]) =>
  packPrefixes(
    4,
    texts.map((t) => parsePrefix(t)),
  );
const accept = (from: Source, received: Attributes): Route => ({
  source: from,
  received,
  attributes: received,
});

test("one path of a prefix is the best, others of the same peer are not, and each says at which step it lost (RFC 7911)", () => {
  const rib = new Rib({ family: 4, cost: () => 0 });
  const id = rib.prefixes.add(parsePrefix("192.0.2.0/24"));
  const twice = accept(source(1), route(0));
  rib.put(id, twice, 7);
  rib.put(id, twice, 8);
  rib.put(id, accept(source(1), { ...route(0), localPref: 50 }), 9);
  rib.put(id, accept(source(2), { ...route(0), nextHop: { address: parseAddress("10.0.0.2") } }), 7);
  rib.decide();
  expect(rib.paths(id).map(({ pathId, best, equal, lost }) => [pathId, best, equal, lost])).toEqual([
    [7, true, true, undefined],
    [8, false, false, "same-peer"],
    [9, false, false, "local-pref"],
    [7, false, true, "bgp-identifier"],
  ]);
});

describe("the prefix table", () => {
  const prefix = (family: 4 | 6): fc.Arbitrary<Prefix> =>
    fc
      .record({
        bits: fc.bigInt({ min: 0n, max: (1n << BigInt(family === 4 ? 32 : 128)) - 1n }),
        length: fc.nat(family === 4 ? 32 : 128),
      })
      .map(({ bits, length }) => {
        const host = BigInt((family === 4 ? 32 : 128) - length);
        return { family, bits: (bits >> host) << host, length };
      });

  test.each([4, 6] as const)("gives each IPv%s prefix one number, and the prefix back", (family) => {
    fc.assert(
      fc.property(fc.array(prefix(family), { maxLength: 60 }), (prefixes) => {
        const table = new PrefixTable(family);
        const ids = prefixes.map((p) => table.add(p));
        const again: number[] = [];
        table.eachId(packPrefixes(family, prefixes), (id) => again.push(id));
        expect(again).toEqual(ids);
        expect(ids.map((id) => table.prefix(id))).toEqual(prefixes);
        expect(prefixes.map((p) => table.find(p))).toEqual(ids);
        expect([...prefixesOf(table.pack(ids))]).toEqual(prefixes);
        expect(table.size).toBe(new Set(prefixes.map(formatPrefix)).size);
      }),
    );
  });

  test("host bits in a message do not make another prefix (RFC 4271 §4.3)", () => {
    const table = new PrefixTable(4);
    const ids: number[] = [];
    table.eachId({ family: 4, bytes: Uint8Array.of(12, 10, 0x1f, 12, 10, 0x10) }, (id) => ids.push(id));
    expect(ids).toEqual([0, 0]);
    expect(formatPrefix(table.prefix(0))).toBe("10.16.0.0/12");
  });

  test("grows", () => {
    const table = new PrefixTable(4);
    for (let i = 0; i < 5000; i++) table.add({ family: 4, bits: BigInt(i) << 8n, length: 24 });
    expect(table.size).toBe(5000);
    expect(table.find({ family: 4, bits: 4999n << 8n, length: 24 })).toBe(4999);
  });
});

describe("the RIB", () => {
  const [a, b] = [source(1), source(2)];
  const rib = () => new Rib({ family: 4, cost: () => 1 });
  const changes = (r: Rib) =>
    [...r.decide()].map((c) => [formatPrefix(r.prefixes.prefix(c.id)), c.best?.source.name]);

  test("reports what changed since the last decision, once", () => {
    const r = rib();
    r.announce(nlri("10.1.0.0/16", "10.2.0.0/16"), accept(b, route(0)));
    expect(changes(r)).toEqual([
      ["10.1.0.0/16", "n2"],
      ["10.2.0.0/16", "n2"],
    ]);
    r.announce(nlri("10.1.0.0/16"), accept(a, route(0)));
    r.withdraw(b, nlri("10.2.0.0/16"));
    expect(changes(r)).toEqual([
      ["10.1.0.0/16", "n1"],
      ["10.2.0.0/16", undefined],
    ]);
    expect(changes(r)).toEqual([]);
    expect([r.counts(a), r.counts(b)]).toEqual([
      { received: 1, accepted: 1, best: 1 },
      { received: 1, accepted: 1, best: 0 },
    ]);
  });

  test("a next hop that no route has any more is asked for again by the next that has it: the way may be another", () => {
    let cost: number | undefined;
    const r = new Rib({ family: 4, cost: () => cost });
    const same = route(0); // as in one session: one object for a next hop
    r.announce(nlri("10.1.0.0/16"), accept(a, same));
    expect(changes(r)).toEqual([]);
    r.withdraw(a, nlri("10.1.0.0/16"));
    changes(r);
    cost = 1; // unsaid: nobody uses it
    r.announce(nlri("10.1.0.0/16"), accept(a, same));
    expect(changes(r)).toEqual([["10.1.0.0/16", "n1"]]);
  });

  test("an announcement that says nothing new changes nothing", () => {
    const r = rib();
    const same = route(0);
    r.announce(nlri("10.1.0.0/16"), accept(a, same));
    changes(r);
    r.announce(nlri("10.1.0.0/16"), accept(a, same));
    expect(changes(r)).toEqual([]);
  });

  test("what import policy refused stays in the Adj-RIB-In and out of the Loc-RIB", () => {
    const r = rib();
    r.announce(nlri("10.1.0.0/16"), { source: a, received: route(0), refused: "AS loop" });
    expect(changes(r)).toEqual([]);
    expect(r.counts(a)).toEqual({ received: 1, accepted: 0, best: 0 });
    expect(r.paths(0)[0]?.refused).toBe("AS loop");
  });

  test("a restarting peer's routes stay until it has said them again or time is up (RFC 4724 §4.2)", () => {
    const r = rib();
    const again = source(1);
    const same = route(0);
    r.announce(nlri("10.1.0.0/16", "10.2.0.0/16"), accept(a, same));
    changes(r);
    r.markStale(a);
    r.rename(a, again);
    r.announce(nlri("10.1.0.0/16"), accept(again, same));
    expect(r.sweepStale(again)).toBe(1);
    expect(changes(r)).toEqual([
      ["10.1.0.0/16", "n1"],
      ["10.2.0.0/16", undefined],
    ]);
    r.forget(again);
    expect(changes(r)).toEqual([["10.1.0.0/16", undefined]]);
    expect(r.counts(again)).toEqual({ received: 0, accepted: 0, best: 0 });
  });
});

/** What a member knows after the bytes it was sent. */
class Listener {
  readonly table = new Map<string, number | undefined>();
  endsOfRib = 0;
  updates = 0;
  hear(bytes: Uint8Array): void {
    for (const cut of new Framer().push(bytes)) {
      const m = readMessage(cut, { as4: true, internal: true, families: [4] });
      if (m.kind !== "update") throw new Error(m.kind);
      this.updates++;
      if (m.endOfRib) this.endsOfRib++;
      for (const run of m.withdrawn) for (const p of prefixesOf(run)) this.table.delete(formatPrefix(p));
      for (const { nlri: run, attributes } of m.announced)
        for (const p of prefixesOf(run)) this.table.set(formatPrefix(p), attributes.med);
    }
  }
}

describe("the update group", () => {
  const setUp = () => {
    const prefixes = new PrefixTable(4);
    const write = { as4: true, internal: true };
    const group = new UpdateGroup({ prefixes, write, exportRoute: (_id, p) => p.attributes });
    const id = (text: string) => prefixes.add(parsePrefix(text));
    const path = accept;
    const listeners = new Map<Source, Listener>();
    const hear = (ready: (m: Source) => boolean = () => true) => {
      for (const { bytes, to } of group.drain(ready)) for (const m of to) listeners.get(m)?.hear(bytes);
    };
    const join = (m: Source, endOfRib = true) => {
      if (!listeners.has(m)) listeners.set(m, new Listener());
      group.join(m, { endOfRib });
    };
    return { group, id, path, listeners, hear, join };
  };
  const [me, a, b] = [source(9), source(1), source(2)];
  const [r1, r2] = [route(1), route(2)];

  test("encodes once for all members, and leaves out the one that a route came from", () => {
    const { group, id, path, join, hear } = setUp();
    for (const m of [a, b, me]) join(m, false);
    hear();
    group.put(id("10.1.0.0/16"), path(me, r1));
    group.put(id("10.2.0.0/16"), path(a, r1));
    const parcels = [...group.drain(() => true)];
    expect(parcels.map(({ to }) => to.map((m) => m.name))).toEqual([["n2"], ["n9"], ["n1"]]);
    expect(new Set(parcels.map(({ bytes }) => bytes.buffer)).size).toBe(1);
    expect(group.pending).toBe(false);
  });

  test("a joiner hears the whole table and then End-of-RIB; withdrawn routes are not mentioned", () => {
    const { group, id, path, join, hear, listeners } = setUp();
    group.put(id("10.1.0.0/16"), path(me, r1));
    group.put(id("10.2.0.0/16"), path(me, r2));
    group.put(id("10.2.0.0/16"), undefined);
    join(a);
    hear();
    expect([...(listeners.get(a)?.table ?? [])]).toEqual([["10.1.0.0/16", 1]]);
    expect(listeners.get(a)).toMatchObject({ endsOfRib: 1, updates: 2 });
  });

  test("when the best path moves to a member's own route, that member hears a withdrawal", () => {
    const { group, id, path, join, hear, listeners } = setUp();
    for (const m of [a, b]) join(m);
    group.put(id("10.1.0.0/16"), path(a, r1));
    hear();
    group.put(id("10.1.0.0/16"), path(b, r2));
    hear();
    expect([a, b].map((m) => [...(listeners.get(m)?.table ?? [])])).toEqual([[["10.1.0.0/16", 2]], []]);
  });

  test("a member never hears of its own route when nobody else has it", () => {
    const { group, id, path, join, hear, listeners } = setUp();
    join(a, false);
    hear();
    group.put(id("10.1.0.0/16"), path(a, r1));
    hear();
    group.put(id("10.1.0.0/16"), undefined);
    hear();
    expect(listeners.get(a)?.updates).toBe(0);
  });

  test("a slow member skips what changed twice, and holds up nobody", () => {
    const { group, id, path, join, hear, listeners } = setUp();
    for (const m of [a, b]) join(m, false);
    hear();
    for (let i = 0; i < 100; i++) {
      group.put(id("10.1.0.0/16"), path(me, i % 2 ? r1 : r2));
      hear((m) => m === a);
    }
    expect([listeners.get(a)?.updates, listeners.get(b)?.updates]).toEqual([100, 0]);
    hear();
    expect(listeners.get(b)).toMatchObject({ updates: 1, table: new Map([["10.1.0.0/16", 1]]) });
  });

  test("whatever joins, leaves, lags and changes: in the end each member knows exactly what it should", () => {
    const members = [source(1), source(2), source(3)];
    const action = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), prefix: fc.nat(5), from: fc.nat(3), med: fc.nat(2) }),
      fc.record({ kind: fc.constant("remove" as const), prefix: fc.nat(5) }),
      fc.record({ kind: fc.constant("join" as const), member: fc.nat(2) }),
      fc.record({ kind: fc.constant("leave" as const), member: fc.nat(2) }),
      fc.record({
        kind: fc.constant("drain" as const),
        ready: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
      }),
    );
    const sources = [...members, me];
    const attributes = [route(0), route(1), route(2)];
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60, size: "max" }), (actions) => {
        const { group, id, path, join, hear, listeners } = setUp();
        const truth = new Map<string, { from: Source; med: number }>();
        for (const act of actions) {
          if (act.kind === "put") {
            const text = `10.${act.prefix}.0.0/16`;
            const from = sources[act.from]!; // nat(3)
            truth.set(text, { from, med: act.med });
            group.put(id(text), path(from, attributes[act.med]!)); // nat(2)
          } else if (act.kind === "remove") {
            truth.delete(`10.${act.prefix}.0.0/16`);
            group.put(id(`10.${act.prefix}.0.0/16`), undefined);
          } else if (act.kind === "join") join(members[act.member]!);
          else if (act.kind === "leave") {
            group.leave(members[act.member]!); // the session is gone, and all it said
            listeners.delete(members[act.member]!);
          } else hear((m) => act.ready[members.indexOf(m)] ?? false);
        }
        hear();
        for (const [member, { table }] of listeners) {
          const wanted = [...truth].filter(([, t]) => t.from !== member).map(([text, t]) => [text, t.med]);
          expect([...table].toSorted()).toEqual(wanted.toSorted());
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("a decision in slices: so many prefixes at most, in the order of their changes, each once", () => {
  const rib = new Rib({ family: 4, cost: () => 1 });
  const from = source(1);
  const texts = Array.from({ length: 3000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  const announce = (some: readonly string[], med: number) =>
    rib.announce(nlri(...some), accept(from, route(med)));
  const decided: number[] = [];
  announce(texts.slice(0, 1000), 1);
  decided.push(...rib.decide(900).best);
  // More come than were decided, one of those again: the list moves up, then grows.
  announce([...texts.slice(1000), texts[0]!], 2); // there are 3000
  for (let turns = 0; rib.isUndecided; turns++) {
    expect(turns).toBeLessThan(4);
    decided.push(...rib.decide(900).best);
  }
  expect(decided).toEqual([...texts.keys(), 0]);
  expect(rib.decide().length).toBe(0);
});
