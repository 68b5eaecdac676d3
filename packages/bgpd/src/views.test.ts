/** What `margay bgp routes` is told: paths of a real BIRD with all that they bear, and tables larger than anybody reads. */
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { Engine } from "./engine.ts";
import { readText } from "./standalone/read.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { Bird, eventually, wire } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";
import { showRoutes } from "./views.ts";

jest.setTimeout(60_000);

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

    test("of a large table no more than the limit, and others have their turns meanwhile", async () => {
      const all = Array.from({ length: 12_000 }, (_, n) => `10.${n >> 8}.${n & 255}.0/24`);
      engine.speaker.setOrigins(new Map(all.map((text) => [text, parsePrefix(text)])));
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
