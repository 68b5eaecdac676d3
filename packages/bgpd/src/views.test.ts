/** What `margay bgp routes` is told: paths of a real BIRD with all that they bear, and tables larger than anybody reads. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Attributes, packPrefixes, type Source } from "@margay/bgp";
import { parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { Engine } from "./engine.ts";
import { readText } from "./standalone/read.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { Bird, eventually, run, wire } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";
import { showRoutes } from "./views.ts";

const ours = `
local: { as: 64512, router-id: 172.20.0.11, addresses: [172.20.0.11/24] }
ebgp-policy: accept-all
families: [ipv4]
neighbors:
  - { address: 172.20.0.2, as: 65002, name: tor, role: customer, add-path: { receive: true }, hold-time: 9, connect-retry-time: 1 }
`;
const birdConf = `
router id 172.20.0.2;
protocol device {}
protocol static near { ipv4 { preference 200; }; route 198.51.100.0/24 blackhole; }
protocol static far { ipv4; route 198.51.100.0/24 blackhole { bgp_path.prepend(65009); }; }
protocol bgp n1 {
  local 172.20.0.2 as 65002; neighbor 172.20.0.11 as 64512; local role provider;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 {
    add paths on; import none;
    export filter {
      bgp_community.add((65002, 1)); bgp_ext_community.add((rt, 65002, 100)); bgp_large_community.add((65002, 1, 2));
      accept;
    };
  };
}
`;

const table = (size: number) => Array.from({ length: size }, (_, n) => `20.${n >> 8}.${n & 255}.0/24`);

unshared(import.meta.url, () => {
  const bird = new Bird("tor");
  let engine: Engine;
  beforeAll(async () => {
    wire("tor");
    bird.start(birdConf);
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    engine.apply(wantedOf(readText(ours, "router.yaml"), { interfaces: [] }));
  });
  afterAll(async () => {
    await engine.stop();
    await bird.remove();
  });

  describe("GET /routes", () => {
    test("both paths that BIRD tells of one prefix (RFC 7911): one is the best, the other says where it lost", async () => {
      const attributes = {
        ...{ prefix: "198.51.100.0/24", from: "tor", peer: "172.20.0.2", nextHop: "172.20.0.2" },
        ...{ communities: ["65002:1"], extendedCommunities: ["0x0002fdea00000064"] },
        ...{ largeCommunities: ["65002:1:2"], onlyToCustomer: 65002, pathId: expect.any(Number) },
      };
      await eventually(
        () => showRoutes(engine, { match: "198.51.100.7" }),
        [
          expect.objectContaining({
            ...attributes,
            asPath: "65002",
            best: true,
            lost: undefined,
            kernel: "installed",
          }),
          expect.objectContaining({
            ...{ ...attributes, asPath: "65002 65009", best: false, multipath: false },
            lost: "step 4, longer AS_PATH (RFC 4271 §9.1.2.2 a)",
          }),
        ],
      );
    });

    test("the next hop of more routes than are thought over in one turn is reached another way: all follow", async () => {
      run("ip route add 10.50.0.0/24 via 172.20.0.2");
      const text = [...table(10_000)].map((prefix) => parsePrefix(prefix));
      const address = parseAddress("172.20.0.9");
      const source: Source = { kind: "ibgp", name: "x", as: 64512, bgpId: 9, address, client: false };
      const attributes: Attributes = {
        origin: "igp",
        asPath: [],
        nextHop: { address: parseAddress("10.50.0.1") },
      };
      const rib = engine.speaker.ribs[4];
      rib.announce(packPrefixes(4, text), { source, received: attributes, attributes });
      engine.speaker.setOrigins(new Map()); // its turn
      const count = (via: string) => run(`ip route show proto 143 | grep -c 'via ${via}' || true`).trim();
      await eventually(() => count("172.20.0.2"), "10001"); // with BIRD's
      run("ip route replace 10.50.0.0/24 via 172.20.0.3");
      await eventually(() => [count("172.20.0.3"), count("172.20.0.2")], ["10000", "1"]);
      await eventually(() => engine.isSettled, true);
      rib.forget(source);
    });

    test("paths of link-local peers, by the address with its interface or without", async () => {
      const sources = ["eth1", "eth2"].map((device, n): Source => {
        const address = parseAddress("fe80::1");
        return { kind: "ebgp", name: device, as: 65003, bgpId: 3 + n, address, client: false, device };
      });
      const attributes: Attributes = {
        origin: "igp",
        asPath: [],
        nextHop: { address: parseAddress("fe80::1") },
      };
      const prefix = "203.0.113.0/24";
      const rib = engine.speaker.ribs[4];
      for (const source of sources)
        rib.announce(packPrefixes(4, [parsePrefix(prefix)]), { source, received: attributes, attributes });
      const shown = async (peer: string) =>
        (await showRoutes(engine, { prefix, peer })).map((path) => path.peer).toSorted();
      expect(await shown("fe80::1%eth2")).toEqual(["fe80::1%eth2"]);
      expect(await shown("fe80::1")).toEqual(["fe80::1%eth1", "fe80::1%eth2"]);
      for (const source of sources) rib.forget(source);
    });

    test("of a large table no more than the limit, and others have their turns meanwhile", async () => {
      engine.speaker.setOrigins(new Map(table(12_000).map((text) => [text, parsePrefix(text)])));
      await eventually(() => engine.speaker.isSettled, true);
      let turns = 0;
      const count = () => {
        turns++;
        next = setImmediate(count);
      };
      let next = setImmediate(count);
      expect(await showRoutes(engine, {})).toHaveLength(10_000);
      clearImmediate(next);
      expect(turns).toBeGreaterThan(10);
      expect(await showRoutes(engine, { limit: "13000" })).toHaveLength(12_002);
      await expect(showRoutes(engine, { limit: "all" })).rejects.toThrow(
        "limit must be a number above 0, found all",
      );
    });
  });
});
