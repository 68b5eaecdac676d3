/** From the RIB through the fabric to a real kernel: what `ip route` shows of paths and of networks of our own. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { type Attributes, packPrefixes, type Source } from "@margay/bgp";
import { type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { Engine } from "./engine.ts";
import { readText } from "./standalone/read.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { eventually, run } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";

const file = (more: string) => `
local: { as: 64512, router-id: 172.20.0.1, addresses: [172.20.0.1/24] }
networks: [10.9.0.0/16, "fd09::/48"]
${more}`;

unshared(import.meta.url, () => {
  let engine: Engine;
  const sources: Source[] = [];
  const apply = (more = "") => engine.apply(wantedOf(readText(file(more), "f.yaml"), { interfaces: [] }));
  /** Equal paths of as many peers, which each says again when called. */
  const learn = (to: string | readonly Prefix[], ...hops: string[]) => {
    const prefixes = typeof to === "string" ? [parsePrefix(to)] : to;
    const family = prefixes[0]!.family; // there are some, of one family
    const again = [...hops.entries()].map(([n, hop]) => {
      const address = parseAddress(`172.20.0.${100 + n}`);
      const source: Source = { kind: "ibgp", name: `n${n}`, as: 64512, bgpId: n, address, client: false };
      const attributes: Attributes = { origin: "igp", asPath: [], nextHop: { address: parseAddress(hop) } };
      sources.push(source);
      return () =>
        engine.speaker.ribs[family].announce(packPrefixes(family, prefixes), {
          source,
          received: attributes,
          attributes,
        });
    });
    const announce = () => {
      for (const one of again) one();
      apply(); // a turn
    };
    announce();
    return announce;
  };
  const withdraw = () => {
    for (const source of sources)
      for (const family of [4, 6] as const) engine.speaker.ribs[family].forget(source);
    apply();
  };
  /** What was done to the kernel so far was heard, and followed. */
  const heard = async () => {
    const { repairs } = engine.kernel.counts;
    run("ip route add 10.99.0.0/24 dev d0 proto 143");
    await eventually(() => engine.kernel.counts.repairs > repairs && engine.isSettled, true);
  };
  const shown = () =>
    run("ip -4 route show proto 143; ip -6 route show proto 143")
      .trim()
      .split("\n")
      .map((line) => line.trim().replace(/\s+/g, " "));

  beforeAll(async () => {
    run(`ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 172.20.0.1/24 dev d0
      ip addr add fd00::1/64 dev d0 nodad; ip link set d0 up; ip link set d1 up`);
    engine = await Engine.open({ log: quiet });
    apply();
  });
  afterEach(async () => {
    withdraw();
    sources.length = 0;
    await eventually(shown, [""]);
  });
  afterAll(() => engine.stop());

  test("a way whose gateway is on the link, though in no network of it: so are our routes by it", async () => {
    run("ip route add 10.60.0.0/24 via 192.0.2.9 dev d0 onlink");
    learn("10.7.0.0/24", "10.60.0.1");
    await eventually(shown, ["10.7.0.0/24 via 192.0.2.9 dev d0 metric 1024 onlink"]);
  });

  test("of two paths the one whose next hop costs less (RFC 4271 §9.1.2.2 e), as long as there is a way to it", async () => {
    run(
      "ip route add 10.61.0.0/24 via 172.20.0.6 metric 10; ip route add 10.62.0.0/24 via 172.20.0.7 metric 20",
    );
    learn("10.7.1.0/24", "10.61.0.1", "10.62.0.1");
    const via = (gateway: string) => [`10.7.1.0/24 via ${gateway} dev d0 metric 1024`];
    await eventually(shown, via("172.20.0.6"));
    run("ip route replace 10.62.0.0/24 via 172.20.0.8 metric 5"); // beside the other, and better than both
    await eventually(shown, via("172.20.0.8"));
    run("ip route flush 10.62.0.0/24");
    await eventually(shown, via("172.20.0.6"));
    run("ip route flush 10.61.0.0/24");
    await eventually(shown, [""]);
    run("ip route add 10.62.0.0/24 via 172.20.0.7");
    await eventually(shown, via("172.20.0.7"));
  });

  test.each<[when: string, before: string | undefined, meanwhile: readonly string[], after: string]>([
    ["was gone before that, and is back", undefined, ["172.20.0.6"], "172.20.0.6"],
    ["is another, and another once more", "172.20.0.5", ["172.20.0.6", "172.20.0.7"], "172.20.0.7"],
  ])("one session withdraws and announces again; the way %s", async (_when, before, meanwhile, after) => {
    const by = (via: string | undefined) => [via ? `10.7.2.0/24 via ${via} dev d0 metric 1024` : ""];
    run("ip route replace 10.63.0.0/24 via 172.20.0.5");
    const again = learn("10.7.2.0/24", "10.63.0.1");
    await eventually(shown, by("172.20.0.5"));
    if (!before) run("ip route flush 10.63.0.0/24");
    await eventually(shown, by(before));
    withdraw();
    await eventually(shown, by(undefined));
    for (const via of meanwhile) {
      run(`ip route replace 10.63.0.0/24 via ${via}`);
      await heard();
    }
    again();
    await eventually(shown, by(after));
  });

  test("IPv6: equal paths are one route of two next hops, and of one when the way to the other goes", async () => {
    run("ip -6 route add fd60::/64 via fd00::6; ip -6 route add fd61::/64 via fd00::7");
    learn("fd07::/64", "fd60::1", "fd61::1");
    const two = "fd07::/64 metric 1024 pref medium";
    const hop = (via: string) => `nexthop via ${via} dev d0 weight 1`;
    await eventually(shown, [two, hop("fd00::6"), hop("fd00::7")]);
    run("ip -6 route del fd61::/64");
    await eventually(shown, ["fd07::/64 via fd00::6 dev d0 metric 1024 pref medium"]);
  });

  test("another metric: of all that we write, also where no path decides", async () => {
    const unreachable = (metric: number) => apply(`kernel: { unreachable: true, metric: ${metric} }`);
    learn("10.7.0.0/24", "172.20.0.6");
    for (const metric of [1024, 700]) {
      unreachable(metric);
      await eventually(shown, [
        `10.7.0.0/24 via 172.20.0.6 dev d0 metric ${metric}`,
        `unreachable 10.9.0.0/16 metric ${metric}`,
        `unreachable fd09::/48 dev lo metric ${metric} pref medium`,
      ]);
    }
  });

  test("whatever changes meanwhile, the last of many prefixes has its turn", async () => {
    const many = Array.from({ length: 10_000 }, (_, i) => `10.7.${i >> 8}.${i & 255}/32`);
    learn(
      many.map((text) => parsePrefix(text)),
      "172.20.0.6",
    );
    await eventually(() => engine.isSettled, true);
    for (let turn = 0; turn < 10; turn++) {
      apply("kernel: { metric: 700 }");
      await nextTurn();
    }
    expect(engine.kernel.wanted(many.at(-1)!)?.metric).toBe(700); // there are some
  });

  test.each(["unreachable", "blackhole"])(
    "`%s`: each network of ours has such a route, which comes back, until the file says otherwise",
    async (type) => {
      apply(`kernel: { ${type}: true }`);
      const routes = [`${type} 10.9.0.0/16 metric 1024`, `${type} fd09::/48 dev lo metric 1024 pref medium`];
      await eventually(shown, routes);
      await eventually(() => engine.isSettled, true);
      run(`ip route del ${type} 10.9.0.0/16`);
      await heard();
      await eventually(shown, routes);
    },
  );

  test("one kind gives way to the other, and a learned route of the same network to either", async () => {
    learn("10.9.0.0/16", "172.20.0.6");
    for (const type of ["unreachable", "blackhole"]) {
      apply(`kernel: { ${type}: true }`);
      await eventually(() => shown()[0], `${type} 10.9.0.0/16 metric 1024`);
    }
  });
});
