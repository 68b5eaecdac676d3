import { execFileSync, spawn, spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { Family } from "@margay/net";
import { NetlinkError, RequestSocket } from "@margay/netlink";
import { reconcile, Tracked } from "@margay/reconcile";
import { unshared, until } from "@margay/testing";
import fc from "fast-check";
import { type Chain, type Item, itemKey, type Match, Nftables, type NftSet, type Rule } from "./index.ts";

const nft = (...args: string[]): string => execFileSync("/usr/sbin/nft", args, { encoding: "utf8" });
const TABLE = "margay";
const chain = (rules: readonly Rule[], base?: Chain["base"]): Chain => ({ kind: "chain", base, rules });
const set = (fields: NftSet["fields"], members: string[], family: Family = 4): Item => ({
  ...{ kind: "set", family, fields, members: new Set(members) },
});
const only = (match: Match, action: Rule["action"] = { do: "accept" }): Rule => ({ match: [match], action });
const tcp: Match = { match: "protocol", number: 6 };

/** Each statement, and how nft itself reads what we wrote. */
const VOCABULARY: readonly (readonly [family: Family, rule: Rule, asNftSays: string])[] = [
  [4, only({ match: "iifname", name: "cali*" }, { do: "drop" }), 'iifname "cali*" drop'],
  [4, only({ match: "iifgroup", number: 0 }, { do: "drop" }), 'iifgroup "default" drop'],
  [4, only({ match: "oifname", name: "eth0", not: true }), 'oifname != "eth0" accept'],
  [4, only({ match: "saddr", net: "10.0.0.1" }), "ip saddr 10.0.0.1 accept"],
  [4, only({ match: "daddr", net: "10.0.0.0/20", not: true }), "ip daddr != 10.0.0.0/20 accept"],
  [6, only({ match: "saddr", net: "fd00::1" }), "ip6 saddr fd00::1 accept"],
  [6, only({ match: "daddr", net: "fd00::/61" }), "ip6 daddr fd00::/61 accept"],
  [4, { match: [tcp, { match: "dport", first: 80, last: 80 }] }, "tcp dport 80"],
  [4, { match: [tcp, { match: "sport", first: 80, last: 90, not: true }] }, "tcp sport != 80-90"],
  [
    4,
    {
      match: [
        { match: "protocol", number: 1 },
        { match: "icmp", type: 8 },
      ],
    },
    "icmp type echo-request",
  ],
  [
    6,
    {
      match: [
        { match: "protocol", number: 58 },
        { match: "icmp", type: 135 },
      ],
    },
    "icmpv6 type nd-neighbor-solicit",
  ],
  [4, only({ match: "set", fields: ["saddr"], set: "hosts" }), "ip saddr @hosts accept"],
  [4, only({ match: "set", fields: ["daddr"], set: "nets", not: true }), "ip daddr != @nets accept"],
  [
    4,
    only({ match: "set", fields: ["daddr", "protocol", "dport"], set: "named" }),
    "ip daddr . meta l4proto . th dport @named accept",
  ],
  [4, { match: [tcp, { match: "set", fields: ["dport"], set: "ports" }] }, "tcp dport @ports"],
  [4, only({ match: "set", fields: ["oifname", "saddr"], set: "pods" }), "oifname . ip saddr @pods accept"],
  [
    4,
    only({ match: "set", fields: ["iifname", "ether saddr"], set: "macs", not: true }, { do: "drop" }),
    "iifname . ether saddr != @macs drop",
  ],
  [4, { match: [], action: { do: "vmap", fields: ["iifgroup"], map: "groups" } }, "iifgroup vmap @groups"],
  [4, only({ match: "ct state", states: ["established", "related"] }), "ct state established,related accept"],
  [4, only({ match: "mark", value: 0x10000, mask: 0x10000 }), "meta mark & 0x00010000 == 0x00010000 accept"],
  [4, only({ match: "ct mark", value: 0x40000, mask: 0x40000 }), "ct mark & 0x00040000 == 0x00040000 accept"],
  [
    4,
    only({ match: "ether saddr", mac: "02:00:00:00:00:01", not: true }, { do: "drop" }),
    "ether saddr != 02:00:00:00:00:01 drop",
  ],
  [4, only({ match: "reverse path", not: true }, { do: "drop" }), "fib saddr . mark . iif oif missing drop"],
  [
    6,
    only({ match: "reverse path", loose: true, not: true }, { do: "drop" }),
    "fib saddr . mark oif missing drop",
  ],
  [4, only({ match: "daddr type", type: "local" }), "fib daddr type local accept"],
  [
    4,
    only({ match: "limit", rate: 5, per: "minute", burst: 7 }, { do: "log", prefix: "margay: ", level: 5 }),
    'limit rate 5/minute burst 7 packets log prefix "margay: " level notice',
  ],
  [
    4,
    { match: [tcp, { match: "ct count over", count: 5 }], action: { do: "reject tcp" } },
    "meta l4proto tcp ct count over 5 reject with tcp reset",
  ],
  [4, { match: [], action: { do: "set dscp", value: 46 } }, "ip dscp set ef"],
  [6, { match: [], action: { do: "set dscp", value: 46 } }, "ip6 dscp set ef"],
  [4, { match: [], action: { do: "jump", chain: "other" } }, "jump other"],
  [4, { match: [], action: { do: "goto", chain: "other" } }, "goto other"],
  [4, { match: [], action: { do: "return" } }, "return"],
  [4, { match: [], action: { do: "reject" } }, "reject"],
  [6, { match: [], action: { do: "reject" } }, "reject"],
  [4, { match: [tcp], action: { do: "reject tcp" } }, "reject with tcp reset"],
  [4, { match: [], action: { do: "vmap", fields: ["iifname"], map: "from" } }, "iifname vmap @from"],
  [
    4,
    { match: [], action: { do: "set mark", value: 0x10000, mask: 0x30000 } },
    "meta mark set meta mark & 0xfffdffff | 0x00010000",
  ],
  [4, { match: [], action: { do: "notrack" } }, "notrack"],
  [
    6,
    {
      match: [
        { match: "protocol", number: 17 },
        { match: "ct direction", direction: "reply" },
        { match: "ct original dport", port: 53 },
      ],
      action: { do: "queue", number: 7 },
    },
    "meta l4proto udp ct direction reply ct original proto-dst 53 queue num 7 bypass",
  ],
  [4, { match: [], id: "only/counts" }, "counter packets 0 bytes 0 only/counts"],
];

/** What comes first is not looked at: our mark and the hash. */
const shown = (text: string): string[] =>
  text
    .split("\n")
    .filter((line) => line.includes("comment"))
    .map((line) => line.trim().replace(/ comment "margay:[^" ]{14}([^"]*)"/, "$1"));

unshared(import.meta.url, () => {
  let tables: Nftables;
  let tracked: Tracked<Item>;
  const apply = (wanted: Record<string, Item>) => reconcile([tracked.to(new Map(Object.entries(wanted)))]);
  beforeEach(() => {
    tables = new Nftables({ table: TABLE });
    tracked = new Tracked(tables.target());
  });
  afterEach(async () => {
    await tables.clear();
    tables.close();
  });

  const SETS: Readonly<Record<string, Item>> = {
    "4/set/hosts": set(["saddr"], ["10.0.0.1", "10.0.0.2"]),
    "4/set/nets": {
      kind: "set",
      family: 4,
      fields: ["saddr"],
      interval: true,
      members: new Set(["10.0.0.0/8"]),
    },
    "4/set/named": set(["saddr", "protocol", "dport"], ["10.0.0.1 . 6 . 80", "10.0.0.1 . 132 . 81"]),
    "4/set/ports": {
      kind: "set",
      family: 4,
      fields: ["dport"],
      interval: true,
      members: new Set(["80", "443-445"]),
    },
    "4/set/pods": set(["iifname", "saddr"], ["cali1 . 10.0.0.1", "cali2 . 10.0.0.2"]),
    "4/set/macs": set(["iifname", "ether saddr"], ["cali1 . ee:ee:ee:00:00:01"]),
    "4/map/groups": {
      kind: "map",
      family: 4,
      fields: ["iifgroup"],
      members: new Set(["1297236481 : goto other"]),
    },
    "4/map/from": { kind: "map", family: 4, fields: ["iifname"], members: new Set(["cali1 : goto other"]) },
  };

  test("nft reads every statement as it is meant", async () => {
    for (const family of [4, 6] as const) {
      const mine = VOCABULARY.filter(([of]) => of === family);
      await apply({
        ...(family === 4 ? SETS : {}),
        [itemKey(family, "chain", "other")]: chain([]),
        [itemKey(family, "chain", "x")]: chain(mine.map(([, rule]) => rule)),
      });
      expect(shown(nft("list", "chain", family === 4 ? "ip" : "ip6", TABLE, "x"))).toEqual(
        mine.map(([, , text]) => text),
      );
    }
  });

  test("address translation and base chains", async () => {
    const post = { type: "nat", hook: "postrouting", priority: 90 } as const;
    const ports = { first: 1000, last: 2000 };
    await apply({
      "4/chain/post": chain(
        [
          { match: [tcp], action: { do: "masquerade", ports, random: true } },
          { match: [tcp], action: { do: "snat", address: "192.0.2.1", ports, random: true } },
          { match: [], action: { do: "snat", address: "192.0.2.1" } },
        ],
        post,
      ),
      "6/chain/post": chain([{ match: [], action: { do: "masquerade" } }], post),
    });
    expect(shown(nft("list", "table", "ip", TABLE))).toEqual([
      "meta l4proto tcp masquerade to :1000-2000 fully-random",
      "meta l4proto tcp snat to 192.0.2.1:1000-2000 fully-random",
      "snat to 192.0.2.1",
    ]);
    expect(nft("list", "table", "ip", TABLE)).toContain(
      "type nat hook postrouting priority srcnat - 10; policy accept;",
    );
    expect(shown(nft("list", "table", "ip6", TABLE))).toEqual(["masquerade"]);
  });

  test("sets and maps read back are the same as those written, and nft agrees", async () => {
    await apply({ ...SETS, "4/chain/other": chain([]) });
    const text = nft("list", "table", "ip", TABLE);
    for (const words of [
      "elements = { 10.0.0.1, 10.0.0.2 }",
      "elements = { 10.0.0.0/8 }",
      "10.0.0.1 . sctp . 81",
      "elements = { 80, 443-445 }",
      'elements = { "cali1" : goto other }',
      '"cali2" . 10.0.0.2',
      'elements = { "cali1" . ee:ee:ee:00:00:01 }',
      "elements = { 1297236481 : goto other }",
    ])
      expect(text).toContain(words);
    tracked.distrust();
    expect(await apply({ ...SETS, "4/chain/other": chain([]) })).toEqual([
      { target: "nftables", put: 0, removed: 0 },
    ]);
  });

  test("the longest id is kept, and a longer one is told by its hash", async () => {
    const ids = ["i".repeat(231), "i".repeat(400)];
    await apply({ "4/chain/x": chain(ids.map((id) => ({ match: [], id }))) });
    const [kept, cut] = [...(await tables.counters()).keys()];
    expect(kept).toBe(ids[0]);
    expect(cut).toMatch(/^i{214}~[\w-]{16}$/);
  });

  test("one rule changed leaves the counters of the others", async () => {
    const rules = (middle: string): Rule[] => ["a", middle, "c"].map((id) => ({ match: [], id }));
    const handles = () =>
      [...nft("-a", "list", "table", "ip", TABLE).matchAll(/ ([abcd])" # handle (\d+)/g)].map((m) => [
        m[1],
        m[2],
      ]);
    await apply({ "4/chain/x": chain(rules("b")) });
    const before = new Map(handles() as [string, string][]);
    await apply({ "4/chain/x": chain(rules("d")) });
    const after = new Map(handles() as [string, string][]);
    expect([...after.keys()]).toEqual(["a", "d", "c"]);
    expect([after.get("a"), after.get("c")]).toEqual([before.get("a"), before.get("c")]);
  });

  test("chains and sets that are edited again and again are what is wanted, and are not read for it", async () => {
    const letters = fc.uniqueArray(fc.constantFrom(..."abcdefgh"), { maxLength: 6 });
    const dumps = jest.spyOn(RequestSocket.prototype, "dump");
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(letters, letters), { minLength: 1, maxLength: 5 }),
        async (steps) => {
          tracked.distrust();
          await apply({});
          dumps.mockClear();
          for (const [x, y] of steps) {
            const of = (ids: readonly string[]) => chain(ids.map((id) => ({ match: [], id })));
            const addresses = (ids: readonly string[]) => ids.map((id) => `10.0.0.${id.charCodeAt(0)}`);
            await apply({ "4/chain/x": of(x), "4/chain/y": of(y), "4/set/s": set(["saddr"], addresses(x)) });
            const members = nft("list", "set", "ip", TABLE, "s").match(/10\.0\.0\.\d+/g) ?? [];
            expect(members.toSorted()).toEqual(addresses(x).toSorted());
            const said = (name: string) =>
              [...nft("list", "chain", "ip", TABLE, name).matchAll(/comment "\S+ (\w)"/g)].map(
                ([, id]) => id,
              );
            expect([said("x"), said("y")]).toEqual([x, y]);
          }
          expect(dumps).not.toHaveBeenCalled();
        },
      ),
      { numRuns: 30, seed: 5 },
    );
    dumps.mockRestore();
  });

  test("a chain of a large transaction is read once, when it is first edited", async () => {
    const of = (ids: readonly number[]) => chain(ids.map((id) => ({ match: [], id: `r${id}` })));
    const many = Array.from({ length: 300 }, (_, n) => n);
    await apply({ "4/chain/x": of(many), "4/chain/y": of(many) });
    const dumps = jest.spyOn(RequestSocket.prototype, "dump");
    await apply({ "4/chain/x": of(many.slice(1)), "4/chain/y": of(many) });
    expect(dumps).toHaveBeenCalledTimes(1);
    dumps.mockRestore();
    expect(
      [...nft("list", "chain", "ip", TABLE, "x").matchAll(/ r(\d+)"/g)].map(([, n]) => Number(n)),
    ).toEqual(many.slice(1));
  });

  describe("a transaction", () => {
    test("is all or nothing", async () => {
      await apply({ "4/chain/x": chain([{ match: [], action: { do: "drop" } }]) });
      const before = nft("list", "ruleset");
      const bad = chain([{ match: [], action: { do: "jump", chain: "nowhere" } }]);
      await expect(
        apply({ "4/chain/x": chain([]), "4/chain/y": chain([]), "4/chain/z": bad }),
      ).rejects.toThrow(/add rule .* to chain z \(IPv4\): ENOENT/);
      expect(nft("list", "ruleset")).toBe(before);
    });

    test("moves a map's key from one chain to another", async () => {
      const map = (to: string): Item =>
        ({ ...SETS["4/map/from"]!, members: new Set([`cali1 : goto ${to}`]) }) as Item; // it is there
      const chains = { "4/chain/a": chain([]), "4/chain/b": chain([]) };
      await apply({ ...chains, "4/map/from": map("a") });
      await apply({ ...chains, "4/map/from": map("b") });
      expect(nft("list", "map", "ip", TABLE, "from")).toContain('"cali1" : goto b');
      await apply({ "4/chain/b": chains["4/chain/b"], "4/map/from": map("b") });
      expect(nft("list", "chains")).not.toContain("chain a");
    });

    // A packet under way finds new elements at once, and of a new chain no rule before the next commit.
    test("comes after one that makes the chains to which it leads", async () => {
      const to = (name: string) => ({
        [`4/chain/${name}`]: chain([{ match: [], action: { do: "drop" } }]),
        "4/map/from": { ...SETS["4/map/from"], members: new Set([`cali1 : goto ${name}`]) } as Item, // it is there
      });
      await apply(to("a"));
      const monitor = spawn("/usr/sbin/nft", ["monitor"], { stdio: ["ignore", "pipe", "ignore"] });
      let told = "";
      monitor.stdout.setEncoding("utf8").on("data", (text: string) => (told += text));
      try {
        await until(() => {
          nft("add", "table", "ip", "marker");
          nft("delete", "table", "ip", "marker");
          return told.includes("delete table ip marker");
        });
        told = "";
        await apply(to("b"));
        await until(() => told.includes("goto b"));
      } finally {
        monitor.kill();
      }
      const commits = told.split("new generation");
      const [made, led] = ["add chain ip margay b", "goto b"].map((words) =>
        commits.findIndex((text) => text.includes(words)),
      );
      expect(made).toBeGreaterThanOrEqual(0);
      expect(led).toBeGreaterThan(made ?? 0);
    });

    test("of thousands of rules gets in, whatever the socket's buffer", async () => {
      const many = Object.fromEntries(
        Array.from({ length: 60 }, (_, i) => [
          `4/chain/c${i}`,
          chain(
            Array.from({ length: 50 }, (_, n) => ({
              match: [{ match: "saddr", net: `10.${i}.${n}.1` }],
              id: `r${i}/${n}`,
            })),
          ),
        ]),
      );
      await apply(many);
      tracked.distrust();
      expect(await apply(many)).toEqual([{ target: "nftables", put: 0, removed: 0 }]);
    });

    test("a chain changed in parts never lets through what it denied before and will deny", async () => {
      const others = (n: number) =>
        Array.from({ length: 400 }, (_, i) => only({ match: "saddr", net: `10.${n}.${i >> 8}.${i & 255}` }));
      const denied = (n: number): Rule => ({
        ...only({ match: "protocol", number: 1 }, { do: "drop" }),
        id: `no ping ${n}`,
      });
      const wanted = (n: number) => ({
        "4/chain/x": chain([
          denied(n),
          ...others(n),
          { match: [], action: { do: "accept" }, id: `rest ${n}` },
        ]),
        "4/chain/out": chain([{ match: [], action: { do: "jump", chain: "x" } }], {
          ...{ type: "filter", hook: "output", priority: 0 },
        }),
      });
      await apply(wanted(0));
      const send = RequestSocket.prototype.transaction;
      const seen: string[] = [];
      const spy = jest.spyOn(RequestSocket.prototype, "transaction").mockImplementation(async function (
        this: RequestSocket,
        requests,
      ) {
        if (requests.length > 200) throw new NetlinkError("EMSGSIZE", "send"); // as where the buffer is small
        await send.call(this, requests);
        seen.push(spawnSync("ping", ["-qc1", "-W0.1", "127.0.0.1"], { encoding: "utf8" }).stdout);
      });
      await apply(wanted(1)).finally(() => spy.mockRestore());
      expect(seen.length).toBeGreaterThan(3);
      expect(seen.filter((text) => !text.includes(" 0 received"))).toEqual([]);
    });
  });

  test("intervals are merged, and changed by what is new", async () => {
    const nets = (...members: string[]): Record<string, Item> => ({
      "4/set/nets": { kind: "set", family: 4, fields: ["saddr"], interval: true, members: new Set(members) },
      "6/set/nets": {
        kind: "set",
        family: 6,
        fields: ["saddr"],
        interval: true,
        members: new Set(["fd00::/8", "::/0"]),
      },
    });
    const steps = [
      ["10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24"],
      ["10.0.0.0/24"],
      ["10.0.0.0/23", "192.0.2.1"],
      ["255.255.255.255", "0.0.0.0/1"],
      ["0.0.0.0/0"],
      [],
    ];
    for (const step of steps) {
      await apply(nets(...step));
      tracked.distrust();
      expect(await apply(nets(...step))).toEqual([{ target: "nftables", put: 0, removed: 0 }]);
    }
    await apply(nets("10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24"));
    expect(nft("list", "set", "ip", TABLE, "nets")).toContain("elements = { 10.0.0.0/23 }");
  });

  test("what somebody else did is undone, in our table only", async () => {
    const wanted = { "4/chain/x": chain([{ match: [], id: "a" }]), ...SETS, "4/chain/other": chain([]) };
    nft("add", "table", "ip", "foreign");
    await apply(wanted);
    const before = nft("list", "ruleset");
    nft("insert", "rule", "ip", TABLE, "x", "drop");
    nft("add", "element", "ip", TABLE, "hosts", "{ 10.9.9.9 }");
    nft("add", "chain", "ip", TABLE, "theirs");
    nft("delete", "element", "ip", TABLE, "nets", "{ 10.0.0.0/8 }");
    tracked.distrust();
    await apply(wanted);
    expect(nft("list", "ruleset")).toBe(before);
    nft("flush", "ruleset");
    tracked.distrust();
    await apply(wanted);
    expect(nft("list", "table", "ip", TABLE)).toContain("10.0.0.0/8");
    expect((await tables.counters()).get("a")).toEqual({ packets: 0, bytes: 0 });
  });
});
