/** Our speaker against a real BIRD in another network namespace; the verdict is BIRD's own table, and the kernel's. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { Filters, Self, WantedPeer } from "./config.ts";
import { Engine, type Wanted } from "./engine.ts";
import { Bird, eventually, kernelRoutes, run, wire } from "./testing/bird.ts";
import { RouteWatch } from "./testing/route-watch.ts";

const quiet = { info: () => {}, warn: () => {}, debug: () => {} };

const self: Self = {
  node: "n1",
  as: 64512,
  bgpId: 0xac14000b,
  addresses: {
    4: { address: parseAddress("172.20.0.11"), subnet: parsePrefix("172.20.0.0/24") },
    6: { address: parseAddress("fd00:172:20::11"), subnet: parsePrefix("fd00:172:20::/64") },
  },
  listenPort: 179,
  bindNodeAddress: false,
  metric: { 4: 1024, 6: 1024 },
};
const tor: WantedPeer = {
  name: "tor",
  type: "global",
  address: parseAddress("172.20.0.2"),
  port: 179,
  localAddress: parseAddress("172.20.0.11"),
  localAs: 64512,
  peerAs: 65000,
  client: false,
  nextHop: "auto",
  holdTimeSeconds: 9,
  restartTimeSeconds: 30,
  allowedLocalAs: 0,
};
const wanted: Wanted = {
  self,
  peers: new Map([["172.20.0.2", tor]]),
  origins: {
    blocks: [parsePrefix("10.244.1.0/26"), parsePrefix("fd00:10:244::40/122")],
    borrowed: [parsePrefix("10.244.9.7/32")],
  },
  isExported: () => true,
  exportKey: "all",
};

const birdConf = `
router id 172.20.0.2;
log stderr all;
protocol device {}
protocol static s4 { ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; }
protocol static s6 { ipv6; route 2001:db8:1::/48 blackhole; }
protocol bgp n1 {
  local 172.20.0.2 as 65000;
  neighbor 172.20.0.11 as 64512;
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on;
  ipv4 { import all; export where source = RTS_STATIC; };
  ipv6 { import all; export where source = RTS_STATIC; next hop address fd00:172:20::2; };
}
`;

unshared(import.meta.url, () => {
  const bird = new Bird("tor");
  let engine: Engine;
  const state = () => [...engine.speaker.peers.values()].map((p) => p.session.state).join();
  /** What BIRD said before it died has been said again. */
  const restartIsOver = () =>
    ([4, 6] as const).every((f) =>
      [...engine.speaker.ribs[f].entries()].every(({ paths }) => paths.every((path) => !path.stale)),
    );

  const learned = [
    "192.0.2.0/24 via 172.20.0.2 dev eth0 metric 1024",
    "198.51.100.0/24 via 172.20.0.2 dev eth0 metric 1024",
    "2001:db8:1::/48 via fd00:172:20::2 dev eth0 metric 1024",
  ];
  const announced = [
    "10.244.1.0/26 via 172.20.0.11 [64512]",
    "10.244.9.7/32 via 172.20.0.11 [64512]",
    "fd00:10:244::40/122 via fd00:172:20::11 [64512]",
  ];

  beforeAll(async () => {
    wire("tor");
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    bird.start(birdConf);
    engine.apply(wanted);
  });
  afterAll(async () => {
    await engine.stop();
    await bird.remove();
  });

  describe("eBGP with BIRD, IPv4 and IPv6 over one IPv4 session", () => {
    test("the session comes up, and routes go both ways", async () => {
      await eventually(state, "Established");
      await eventually(() => bird.routes(), announced);
      await eventually(kernelRoutes, learned);
      expect(bird.control("show protocols n1")).toMatch(/Established/);
    });

    test("a route that somebody deletes or changes is back within a second", async () => {
      const watch = new RouteWatch();
      run(
        "ip route del 192.0.2.0/24 proto 143; ip route replace 198.51.100.0/24 dev eth0 proto 143 metric 1024",
      );
      // From what the kernel said to what it said next: starting `ip` takes long on a busy machine.
      const repairs = () =>
        ["192.0.2.0/24", "198.51.100.0/24"].map((dst) => watch.events.filter((e) => e.dst === dst));
      await eventually(() => repairs().every((events) => events.length >= 2), true, 5);
      for (const [broken, repaired] of repairs()) expect(repaired!.at - broken!.at).toBeLessThan(1000);
      watch.close();
      expect(kernelRoutes()).toEqual(learned);
    });

    test("foreign routes are left alone", async () => {
      run("ip route add 203.0.113.0/24 via 172.20.0.2 proto static");
      engine.apply({ ...wanted, origins: { ...wanted.origins } });
      await eventually(() => engine.isSettled, true);
      expect(run("ip route show 203.0.113.0/24")).toMatch(/proto static/);
    });

    test("a withdrawn block leaves BIRD, the rest stays", async () => {
      engine.apply({ ...wanted, origins: { ...wanted.origins, borrowed: [] } });
      await eventually(
        () => bird.routes(),
        announced.filter((r) => !r.startsWith("10.244.9.7")),
      );
      engine.apply(wanted);
      await eventually(() => bird.routes(), announced);
    });

    test("a filter that asks for the interface of the next hop, both ways, in the same session", async () => {
      const none = { 4: [], 6: [] };
      const by = (device: string) => ({ action: "reject", interface: device }) as const;
      const filtered = (filters: Filters): Wanted => ({
        ...wanted,
        peers: new Map([["172.20.0.2", { ...tor, filters }]]),
      });
      engine.apply(filtered({ import: { 4: [by("eth*")], 6: [by("lo")] }, export: none }));
      await eventually(kernelRoutes, [learned[2]]);
      engine.apply(filtered({ import: none, export: { 4: [by("eth0")], 6: [] } })); // our own lead to no interface
      await eventually(kernelRoutes, learned);
      expect([state(), bird.routes()]).toEqual(["Established", announced]);
      engine.apply(wanted);
    });

    test("another metric of kernel routes, in the same session", async () => {
      engine.apply({ ...wanted, self: { ...self, metric: { 4: 500, 6: 600 } } });
      const metrics = ["500", "500", "600"];
      await eventually(
        kernelRoutes,
        learned.map((route, i) => route.replace("1024", metrics[i]!)), // one each
      );
      engine.apply(wanted);
      await eventually(kernelRoutes, learned);
      expect([...engine.speaker.peers.values()].map((p) => p.counts.established)).toEqual([1]);
    });

    test("BIRD asks for a route refresh and gets everything again", async () => {
      bird.control("reload in n1");
      await eventually(() => bird.routes(), announced);
      expect(state()).toBe("Established");
    });

    test("BIRD is killed: its routes stay until it is back and confirms them, none is gone for a moment", async () => {
      const watch = new RouteWatch();
      await bird.kill();
      await eventually(state, expect.not.stringMatching("Established"));
      expect(kernelRoutes()).toEqual(learned);
      bird.start(birdConf, { recovers: true });
      await eventually(state, "Established");
      await eventually(() => bird.routes(), announced);
      await eventually(restartIsOver, true);
      expect(kernelRoutes()).toEqual(learned);
      expect(watch.lost).toEqual([]);
      watch.close();
    });

    test("it comes back without its forwarding state (no F bit): its old routes go at once, then come again", async () => {
      const watch = new RouteWatch();
      await bird.kill();
      await eventually(state, expect.not.stringMatching("Established"));
      bird.start(birdConf);
      await eventually(state, "Established");
      await eventually(() => new Set(watch.lost).size, learned.length);
      await eventually(kernelRoutes, learned);
      watch.close();
    });

    test("an orderly end (Cease) withdraws at once", async () => {
      bird.control("disable n1");
      await eventually(kernelRoutes, []);
      const [peer] = engine.speaker.peers.values();
      expect(peer?.faults.received?.words).toMatch(/Cease: Administrative Shutdown/);
      bird.control("enable n1");
      await eventually(kernelRoutes, learned);
    });

    test("the peer is removed from the configuration: BIRD loses our routes", async () => {
      engine.apply({ ...wanted, peers: new Map() });
      await eventually(() => bird.routes(), []);
      await eventually(kernelRoutes, []);
      engine.apply(wanted);
      await eventually(() => bird.routes(), announced);
    });

    test("our restart without a NOTIFICATION keeps our routes in BIRD and theirs in our kernel", async () => {
      await eventually(kernelRoutes, learned);
      await engine.stop();
      expect(kernelRoutes()).toEqual(learned);
      expect(bird.routes()).toEqual(announced);
      engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
      engine.apply(wanted);
      const seen = new Set<string>();
      await eventually(() => {
        seen.add(`${kernelRoutes().length} ${bird.routes().length}`);
        return [state(), engine.speaker.hasConverged];
      }, ["Established", true]);
      expect([...seen]).toEqual(["3 3"]);
      await eventually(() => bird.routes(), announced);
      expect(kernelRoutes()).toEqual(learned);
    });
  });
});
