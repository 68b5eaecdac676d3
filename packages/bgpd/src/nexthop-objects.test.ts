/** Many routes with the same next hops lean on nexthop objects of ours: they follow them at once, and nobody else's are touched. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { formatPrefix, type Prefix, parseAddress } from "@margay/net";
import { Netlink, type Route, routeTarget } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { Kernel } from "./kernel.ts";
import { bgpProtocol } from "./kernel-routes.ts";
import { eventually, run } from "./testing/bird.ts";
import { RouteWatch } from "./testing/route-watch.ts";

const many = 1500;
const v4 = (n: number): Prefix => ({ family: 4, bits: 0x14_00_00_00n + (BigInt(n) << 8n), length: 24 });
const over6 = (n: number): Prefix => ({ family: 4, bits: 0x1e_00_00_00n + (BigInt(n) << 8n), length: 24 });
const v6 = (n: number): Prefix => ({
  family: 6,
  bits: (0x2001_0db8n << 96n) + (BigInt(n) << 64n),
  length: 64,
});
const kinds = [v4, over6, v6];

unshared(import.meta.url, () => {
  let kernel: Kernel;
  const open = async () => {
    const made = await Kernel.open({
      log: { info() {}, warn() {}, debug() {} },
      onFabric() {},
      nextHops: () => [parseAddress("172.20.0.2")],
    });
    made.start();
    return made;
  };
  const hops = (...of: string[]): Route["nexthops"] =>
    of.map((word) => {
      const [via = "", weight] = word.replace("!", "").split("*");
      const onlink = word.endsWith("!");
      return {
        ...{ via: parseAddress(via), dev: "d0" },
        ...(weight && { weight: Number(weight) }),
        ...(onlink && { onlink }),
      };
    });
  const want = (prefix: (n: number) => Prefix, nexthops: Route["nexthops"] | undefined, count = many) => {
    for (let n = 0; n < count; n++) {
      const dst = prefix(n);
      const route: Route = {
        dst,
        protocol: bgpProtocol,
        type: "unicast",
        metric: 1024,
        nexthops: nexthops ?? [],
      };
      kernel.want(formatPrefix(dst), nexthops && route);
    }
  };
  const settled = () => eventually(() => kernel.isSettled, true);
  /** By what they say, how many of our routes: `{ "nhid A via 172.20.0.2": 1500 }`, with a letter for each object. */
  const shown = () => {
    const letters = new Map<string, string>();
    const letter = (id: string) => {
      if (!letters.has(id)) letters.set(id, String.fromCharCode(65 + letters.size));
      return letters.get(id);
    };
    const text = run("ip -o -4 route show proto 143; ip -o -6 route show proto 143");
    const lines = text
      .trim()
      .split("\n")
      .map((line) =>
        [...line.matchAll(/nhid (\d+)|via(?: inet6)? (\S+) dev \S+(?: weight ([2-9]|\d\d+))?/g)]
          .map(([, id, via, weight]) => (id ? `nhid ${letter(id)}` : `${via}${weight ? `*${weight}` : ""}`))
          .join(" "),
      );
    return Object.fromEntries(
      Object.entries(Object.groupBy(lines, (line) => line)).map(([k, v]) => [k, v?.length]),
    );
  };
  /** The same, whatever they lean on. */
  const went = () => {
    const sums: Record<string, number> = {};
    for (const [words, count = 0] of Object.entries(shown())) {
      const hops = words.replace(/^nhid \w+ /, "");
      sums[hops] = (sums[hops] ?? 0) + count;
    }
    return sums;
  };
  const objects = () => run("ip nexthop show proto 143").trim().split("\n").filter(Boolean);
  const groups = () => objects().filter((line) => line.includes("group"));
  const idOf = (line = "") => /id (\d+)/.exec(line)?.[1];

  beforeAll(async () => {
    run(`ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 172.20.0.1/24 dev d0
      ip addr add fd00::1/64 dev d0 nodad; ip link set d0 up; ip link set d1 up
      ip nexthop add id 2399141889 via 172.20.0.9 dev d0 proto 4; ip nexthop add id 2399141890 group 2399141889 proto 4
      ip route add 10.1.0.0/24 nhid 2399141890 proto static; ip nexthop add id 6 blackhole proto 4`);
    kernel = await open();
  });
  const foreign = () => run("ip nexthop show proto 4; ip route show proto static");
  let foreignBefore: string;
  beforeAll(() => {
    foreignBefore = foreign();
  });
  afterAll(() => kernel.stop());

  describe(`${many} routes of each kind`, () => {
    test("lean on an object for each set of next hops: weights, IPv6, IPv4 by IPv6 next hops (RFC 8950)", async () => {
      want(v4, hops("172.20.0.2", "172.20.0.3*3"));
      want(over6, hops("fd00::2"));
      want(v6, hops("fd00::2", "fd00::3"));
      await settled();
      expect(shown()).toEqual({
        "nhid A 172.20.0.2 172.20.0.3*3": many,
        "nhid B fd00::2": many,
        "nhid C fd00::2 fd00::3": many,
      });
      expect(objects()).toHaveLength(3 + 4);
    });

    test("one next hop gone, and back: the same objects say so, and those of others are as they were", async () => {
      const before = groups().map(idOf);
      for (const [four, six] of [
        [["172.20.0.3"], ["fd00::3"]],
        [
          ["172.20.0.2", "172.20.0.3"],
          ["fd00::2", "fd00::3"],
        ],
      ] as const) {
        want(v4, hops(...four));
        want(v6, hops(...six));
        await settled();
        expect(shown()).toEqual({
          [`nhid A ${four.join(" ")}`]: many,
          "nhid B fd00::2": many,
          [`nhid C ${six.join(" ")}`]: many,
        });
        expect(groups().map(idOf)).toEqual(before);
      }
      expect(kernel.counts.errors).toBe(0);
      expect(foreign()).toBe(foreignBefore);
    });

    const whole = {
      "nhid A 172.20.0.2 172.20.0.3": many,
      "nhid B fd00::2": many,
      "nhid C fd00::2 fd00::3": many,
    };
    test.each([
      ["an object deleted", (group: string) => `ip nexthop del id ${group}`],
      [
        "an object changed",
        (group: string, hop: string) => `ip nexthop replace id ${group} group ${hop} proto 143`,
      ],
      ["a next hop of it deleted", (_: string, hop: string) => `ip nexthop del id ${hop}`],
      [
        "a next hop of it changed",
        (_: string, hop: string) => `ip nexthop replace id ${hop} via 172.20.0.8 dev d0 proto 143`,
      ],
      ["all objects deleted", () => "ip nexthop flush proto 143"],
      [
        "the interface down and up",
        () => "ip link set d0 down; ip link set d0 up; ip addr add fd00::1/64 dev d0 nodad 2>&- || true",
      ],
      [
        "the carrier lost and back",
        () =>
          "ip link set d1 down; until ip -o link show d0 | grep -q LOWERLAYERDOWN; do sleep 0.2; done; ip link set d1 up",
      ],
    ])("%s: all go where they went", async (_what, command) => {
      const [group] = groups();
      const hop = objects().find((line) => line.includes("via 172.20.0.2 "));
      run(command(idOf(group) ?? "", idOf(hop) ?? ""));
      await eventually(went, { "172.20.0.2 172.20.0.3": many, "fd00::2": many, "fd00::2 fd00::3": many });
      want(v4, hops("172.20.0.2"));
      want(over6, hops("fd00::3"));
      want(v6, hops("fd00::2"));
      await settled();
      want(v4, hops("172.20.0.2", "172.20.0.3"));
      want(over6, hops("fd00::2"));
      want(v6, hops("fd00::2", "fd00::3"));
      await settled();
      expect(shown()).toEqual(whole);
      expect(objects()).toHaveLength(3 + 4);
      expect(run("ip nexthop show proto 143")).not.toMatch("172.20.0.8");
    });

    test.each([1, 0])("nexthop_compat_mode=%s: the next process finds all, and loses none", async (mode) => {
      run(`sysctl -qw net.ipv4.nexthop_compat_mode=${mode}`);
      want(over6, hops("fd00::2", "fd00::3*7"));
      await settled();
      await kernel.stop();
      const before = groups();
      const watch = new RouteWatch();
      kernel = await open();
      await settled();
      want(v4, hops("172.20.0.2", "172.20.0.3"));
      want(over6, hops("fd00::2", "fd00::3*7"));
      want(v6, hops("fd00::2", "fd00::3"));
      kernel.release();
      await settled();
      expect(watch.events.length).toBe(0);
      expect(groups()).toEqual(before);
      watch.close();
      run("sysctl -qw net.ipv4.nexthop_compat_mode=1");
      expect(went()).toMatchObject({ "fd00::2 fd00::3*7": many, "fd00::2 fd00::3": many });
    });

    test("what is listed says where routes go, not what they lean on", async () => {
      const nl = Netlink.open();
      const listed = await routeTarget(nl, { protocol: bgpProtocol, shareFrom: 1 }).list();
      nl.close();
      expect([listed.size, [...listed.values()].filter(({ nhid }) => nhid !== undefined)]).toEqual([
        3 * many,
        [],
      ]);
    });

    test("a few leave for next hops of their own, and come back", async () => {
      for (const [four, six, words] of [
        [["172.20.0.4", "172.20.0.5"], ["fd00::4", "fd00::5"], "172.20.0.4 172.20.0.5, fd00::4 fd00::5"],
        [["172.20.0.4"], ["fd00::4"], "172.20.0.4, fd00::4"],
        [
          ["172.20.0.2", "172.20.0.3"],
          ["fd00::2", "fd00::3"],
          "nhid A 172.20.0.2 172.20.0.3, nhid C fd00::2 fd00::3",
        ],
      ] as const) {
        want(v4, hops(...four), 10);
        want(v6, hops(...six), 10);
        await settled();
        const count = words.startsWith("nhid") ? many : 10;
        for (const kind of words.split(", ")) expect(shown()).toMatchObject({ [kind]: count });
      }
      expect(kernel.counts.errors).toBe(0);
    });

    test("what the earlier process left and nobody wants goes, with its objects", async () => {
      await kernel.stop();
      kernel = await open();
      run("ip nexthop flush proto 143"); // before anybody said what is wanted: all are back
      await eventually(went, {
        "172.20.0.2 172.20.0.3": many,
        "fd00::2 fd00::3*7": many,
        "fd00::2 fd00::3": many,
      });
      want(v4, hops("172.20.0.2", "172.20.0.3"));
      kernel.release();
      await settled();
      expect(went()).toEqual({ "172.20.0.2 172.20.0.3": many });
      expect(objects()).toHaveLength(3);
    });

    test("objects of our protocol that routes of another table lean on are another process's", async () => {
      await kernel.stop();
      run(`ip nexthop add id 2399150000 via 172.20.0.4 dev d0 proto 143
        ip nexthop add id 2399150001 group 2399150000 proto 143
        ip route add 10.9.0.0/24 nhid 2399150001 proto 143 table 77`);
      kernel = await open();
      want(v4, hops("172.20.0.3"));
      kernel.release();
      await settled();
      want(v4, hops("172.20.0.2", "172.20.0.3"));
      await settled();
      expect(run("ip route show table 77")).toMatch("10.9.0.0/24 nhid 2399150001 via 172.20.0.4");
      run("ip nexthop del id 2399150001; ip nexthop del id 2399150000");
    });

    test("a next hop that the kernel refuses: each route says so by itself, and the others are in", async () => {
      want(over6, hops("192.0.2.1"));
      want(v6, hops("fd00::2"), 10);
      await eventually(() => kernel.refusal("30.0.0.0/24"), expect.stringMatching("invalid gateway"));
      await settled();
      expect(went()).toEqual({ "172.20.0.2 172.20.0.3": many, "fd00::2": 10 });
    });

    test("an object changed that a route leans on which may not leave: it goes again where it went, like the others", async () => {
      want(v4, hops("172.20.0.2"));
      await settled();
      const [group] = groups();
      run("ip nexthop add id 7 via 172.20.0.8 dev d0 proto 4");
      want(v4, hops("192.0.2.1"), 1);
      run(`ip nexthop replace id ${idOf(group)} group 7 proto 143`);
      await eventually(() => kernel.refusal("20.0.0.0/24"), expect.stringMatching("invalid gateway"));
      await eventually(went, { "172.20.0.2": many, "fd00::2": 10 });
      run("ip nexthop del id 7");
      want(v4, hops("172.20.0.2"));
      await settled();
    });

    test("said in two turns that follow each other, the smaller part first: all go along with one object", async () => {
      want(v4, hops("172.20.0.2", "172.20.0.3"), 2 * many);
      await settled();
      want(v4, hops("172.20.0.3"), 1100);
      await nextTurn();
      want(v4, hops("172.20.0.3"), 2 * many);
      await settled();
      expect(shown()).toMatchObject({ "nhid A 172.20.0.3": 2 * many });
    });

    test("an object that is deleted while routes are written on it: those are back, too", async () => {
      want(v4, hops("172.20.0.2"), 2 * many);
      await settled();
      const [group] = groups();
      want(v4, hops("172.20.0.2"), 6 * many);
      const count = () => Number(run("ip -4 route show proto 143 | wc -l"));
      while (count() <= 2 * many) await nextTurn();
      run(`ip nexthop del id ${idOf(group)}`);
      await eventually(went, { "172.20.0.2": 6 * many, "fd00::2": 10 });
      for (let n = 2 * many; n < 6 * many; n++) kernel.want(formatPrefix(v4(n)), undefined);
      await settled();
    });

    test("a gateway on the link, though in no network of it", async () => {
      want(v4, hops("192.0.2.7!"), 2 * many);
      await settled();
      expect(shown()).toMatchObject({ "nhid A 192.0.2.7": 2 * many });
      expect(run("ip nexthop show proto 143")).toMatch(/via 192.0.2.7 dev d0 .*onlink/);
      expect(run("ip route show 20.0.0.0/24")).toMatch("onlink");
      want(v4, undefined, 2 * many);
    });

    test("none wanted: no object is left", async () => {
      for (const kind of kinds) want(kind, undefined);
      await settled();
      await eventually(objects, []);
    });
  });
});
