import { describe, expect, test } from "@jest/globals";
import { formatAddress, parseAddress } from "@margay/net";
import {
  LEAST_SECONDS,
  LearntDomains,
  LONGEST_SECONDS,
  type Meant,
  MOST_ADDRESSES,
  MOST_WILD,
  MOST_WILD_ADDRESSES,
} from "./learnt.ts";

const at = (text: string, ttlSeconds = 60) => ({ address: parseAddress(text), ttlSeconds });
const NOW = 1_000_000;
const exact = { meant: "in full", now: NOW } as const;

function learnt(domain: string, addresses: readonly ReturnType<typeof at>[], meant: Meant = "in full") {
  const table = new LearntDomains();
  const told = table.learn(domain, addresses, { meant, now: NOW });
  return { table, ...told };
}

const nobody = { isUsed: () => false, isMeant: () => true };

describe("how long an address is good", () => {
  test.each<[why: string, ttl: number, seconds: number]>([
    ["as long as the record says", 300, 300],
    ["long enough to connect", 0, LEAST_SECONDS],
    ["not for ever", 2 ** 31 - 1, LONGEST_SECONDS],
  ])("%s", (_why, ttl, seconds) => {
    const { table } = learnt("a.example", [at("192.0.2.1", ttl)]);
    expect(table.all.get("a.example")?.get("192.0.2.1")).toBe(NOW + 1000 * seconds);
  });

  test("an answer with less time takes none away, one with more gives it", () => {
    const { table } = learnt("a.example", [at("192.0.2.1", 300)]);
    expect(table.learn("a.example", [at("192.0.2.1", 40)], exact)).toEqual({
      fresh: [],
      longer: [],
      refused: 0,
    });
    expect(table.all.get("a.example")?.get("192.0.2.1")).toBe(NOW + 300_000);
    const later = { ...exact, now: NOW + 290_000 };
    expect(table.learn("a.example", [at("192.0.2.1", 40)], later)).toMatchObject({ longer: ["192.0.2.1"] });
    expect(table.all.get("a.example")?.get("192.0.2.1")).toBe(NOW + 330_000);
  });

  test("what is due goes, unless a connection goes there; then it is asked again", () => {
    const { table } = learnt("a.example", [at("192.0.2.1"), at("192.0.2.2"), at("192.0.2.3", 300)]);
    const later = NOW + 60_000;
    expect(table.due(later).map(formatAddress)).toEqual(["192.0.2.1", "192.0.2.2"]);
    const forgetting = { ...nobody, isUsed: (text: string) => text === "192.0.2.2" };
    expect(table.forget({ ...forgetting, now: later })).toEqual(["a.example"]);
    expect([...(table.all.get("a.example")?.keys() ?? [])]).toEqual(["192.0.2.2", "192.0.2.3"]);
    expect(table.forget({ ...nobody, now: later })).toEqual([]);
    expect(table.forget({ ...nobody, now: later + 30_000 })).toEqual(["a.example"]);
  });

  test("a domain that no rule means any more is forgotten at once", () => {
    const { table } = learnt("a.example", [at("192.0.2.1")]);
    expect(table.forget({ ...nobody, isMeant: () => false, now: NOW })).toEqual(["a.example"]);
    expect(table.all.size).toBe(0);
  });
});

test.each([
  ...["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255"],
  ...["::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1"],
])("%s is no address of a domain: it is another place on each node, or many", (text) => {
  expect(learnt("a.example", [at(text), at("2001:db8::1")])).toMatchObject({ fresh: ["2001:db8::1"] });
});

describe("who asks for much costs little", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => at(`10.0.${i >> 8}.${i & 255}`));

  test("of a domain's addresses so many, and those keep their place", () => {
    const { table, fresh, refused } = learnt("a.example", many(MOST_ADDRESSES + 3));
    expect([fresh.length, refused]).toEqual([MOST_ADDRESSES, 3]);
    expect(table.learn("a.example", [at("10.0.0.0")], exact)).toMatchObject({ fresh: [], refused: 0 });
  });

  test("of names below wildcards so many, while those that rules spell out have their place", () => {
    const table = new LearntDomains();
    const wild = { meant: "by wildcard", now: NOW } as const;
    for (let i = 0; i < MOST_WILD; i++) table.learn(`n${i}.w.example`, [at("192.0.2.1")], wild);
    expect(table.learn("more.w.example", [at("192.0.2.1")], wild)).toMatchObject({ fresh: [], refused: 1 });
    expect(table.learn("a.example", [at("192.0.2.1")], exact)).toMatchObject({
      fresh: ["192.0.2.1"],
      refused: 0,
    });
    table.forget({ ...nobody, isMeant: (domain) => domain !== "n0.w.example", now: NOW });
    expect(table.learn("more.w.example", [at("192.0.2.1")], wild)).toMatchObject({ refused: 0 });
  });

  test("of addresses of such names so many, all together", () => {
    const table = new LearntDomains();
    const wild = { meant: "by wildcard", now: NOW } as const;
    for (let i = 0; i < MOST_WILD_ADDRESSES / MOST_ADDRESSES; i++)
      table.learn(`n${i}.w.example`, many(MOST_ADDRESSES), wild);
    expect(table.learn("more.w.example", [at("192.0.2.1")], wild)).toMatchObject({ fresh: [], refused: 1 });
    expect(table.all.has("more.w.example")).toBe(false);
    expect(table.learn("n0.w.example", [at("10.0.0.0")], wild)).toMatchObject({ refused: 0 });
    expect(table.learn("a.example", [at("192.0.2.1")], exact)).toMatchObject({ refused: 0 });
    table.forget({ ...nobody, isMeant: (domain) => domain !== "n0.w.example", now: NOW });
    expect(table.learn("more.w.example", [at("192.0.2.1")], wild)).toMatchObject({ refused: 0 });
  });

  test.each<[why: string, each: number, most: number]>([
    ["of names", 1, MOST_WILD],
    ["of addresses", MOST_ADDRESSES, MOST_WILD_ADDRESSES],
  ])("no asker takes what another needs, %s", (_why, each, most) => {
    const table = new LearntDomains();
    /** Asks for names of its own until one is refused. @returns how many addresses it got */
    const greedy = (asker: string): number => {
      for (let i = 0, got = 0; ; i++) {
        const wild = { meant: "by wildcard", now: NOW, asker } as const;
        const { fresh, refused } = table.learn(`n${i}.${asker}.w.example`, many(each), wild);
        got += fresh.length;
        if (refused > 0) return got;
      }
    };
    expect(greedy("10.244.0.1")).toBe(most / 2);
    expect(greedy("10.244.0.2")).toBe(most / 4);
    const wild = { meant: "by wildcard", now: NOW } as const;
    const asks = (asker: string, name: string, address: string) =>
      table.learn(name, [at(address)], { ...wild, asker }).fresh;
    expect(asks("10.244.0.3", "a.w.example", "192.0.2.1")).toEqual(["192.0.2.1"]);
    // What it took it keeps, and hears again; others find more addresses of a name that it brought.
    expect(asks("10.244.0.1", "n0.10.244.0.1.w.example", "10.0.0.0")).toEqual([]);
    expect(asks("10.244.0.1", "more.w.example", "192.0.2.1")).toEqual([]);
    expect(asks("10.244.0.1", "a.w.example", "192.0.2.2")).toEqual([]);
    expect(asks("10.244.0.3", "n0.10.244.0.1.w.example", "192.0.2.2")).toEqual(
      each === 1 ? ["192.0.2.2"] : [],
    );
  });
});
