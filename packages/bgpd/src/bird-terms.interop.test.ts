/** What few peers need, with a real BIRD on the other side: a line of its configuration and its word for what came of it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { communities } from "@margay/bgp";
import { parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { WantedPeer } from "./config.ts";
import { Around, changed } from "./testing/around.ts";
import { Bird, eventually, wire } from "./testing/bird.ts";

interface Lines {
  /** The protocol's AS; 65000 when absent. */
  readonly as?: number;
  /** Of the protocol, and what its neighbour's AS is taken for. */
  readonly protocol?: string;
  readonly neighbourAs?: number;
  /** Of the export filter. */
  readonly export?: string;
}

const birdConf = ({ as = 65000, protocol = "", neighbourAs = 64512, export: filter = "" }: Lines) => `
router id 172.20.0.2;
protocol device {}
protocol static { ipv4; route 192.0.2.0/24 blackhole; }
protocol bgp n1 {
  local 172.20.0.2 as ${as}; neighbor 172.20.0.11 as ${neighbourAs};
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1; graceful restart on;
  ${protocol}
  ipv4 { import all; export filter { if source != RTS_STATIC then reject; ${filter} accept; }; };
}
`;

const many = Array.from({ length: 1200 }, (_, i) => i + 1);
const tagged = (values: readonly number[]) => changed({ kind: "add-communities", values });

const [internal, own] = [{ as: 64512 }, { peerAs: 64512 }];

unshared(import.meta.url, () => {
  const bird = new Bird("tor");
  const around = new Around();
  beforeAll(() => {
    wire("tor");
    Around.addAddresses();
  });
  afterEach(async () => {
    around.stop();
    await bird.kill();
  });
  afterAll(() => bird.remove());

  const start = (lines: Lines, terms: Partial<WantedPeer>) => {
    bird.start(birdConf(lines));
    return around.start(terms);
  };
  const shown = () => bird.control("show route 10.9.0.0/16 all");

  describe("what BIRD says of ours", () => {
    test.each<[string, Lines, Partial<WantedPeer>, RegExp]>([
      [
        "RFC 9234 roles: ONLY_TO_CUSTOMER of ours",
        { protocol: "local role customer; require roles on;" },
        { sessionTerms: { role: "provider", roleRequired: true } },
        /BGP\.otc: 64512/,
      ],
      [
        "RFC 6793 §4.2.2 a session without four octets: AS_TRANS in AS_PATH, and AS4_PATH, which it puts together",
        { protocol: "enable as4 off;" },
        changed({ kind: "prepend", as: 4200000001, times: 1 }),
        /BGP\.as_path: 4200000001 64512\n/,
      ],
      [
        "RFC 8654 a message of more than 4,096 bytes",
        { protocol: "enable extended messages on;" },
        tagged(many),
        /\(0,1200\)/,
      ],
      [
        "RFC 8326 graceful shutdown",
        {},
        tagged([communities.gracefulShutdown]),
        /BGP\.community: \(65535,0\)/,
      ],
      [
        "RFC 4360, RFC 8092 an extended community and a large one",
        {},
        changed({ kind: "add-communities", values: [0x0002_fc00_0000_0064n, [64512, 1, 2]] }),
        /BGP\.ext_community: \(rt, 64512, 100\)[\s\S]*BGP\.large_community: \(64512, 1, 2\)/,
      ],
      [
        "local-as, our own behind it",
        { neighbourAs: 64600 },
        { localAs: 64600, policyTerms: { showBothAses: true } },
        /BGP\.as_path: 64600 64512\n/,
      ],
    ])("%s", async (_why, lines, terms, expected) => {
      await start(lines, terms);
      await eventually(shown, expect.stringMatching(expected));
    });

    test.each<[string, Lines, Partial<WantedPeer>, RegExp]>([
      ["nothing asked for", {}, {}, /BGP\.as_path: 64512 64999 3356 65010\n/],
      ["remove-private-as", {}, { policyTerms: { removePrivateAs: "remove" } }, /BGP\.as_path: 64512 3356\n/],
      [
        "remove-private-as replace",
        {},
        { policyTerms: { removePrivateAs: "replace" } },
        /BGP\.as_path: 64512 64512 3356 64512\n/,
      ],
      [
        "local-as alone, without our own",
        { neighbourAs: 64600 },
        { localAs: 64600 },
        /BGP\.as_path: 64600 64999 3356 65010\n/,
      ],
      ["next hop auto, eBGP: we are", {}, {}, /BGP\.next_hop: 172\.20\.0\.11\n/],
      ["next hop keep", { protocol: "multihop;" }, { nextHop: "keep" }, /BGP\.next_hop: 198\.51\.100\.9\n/],
      ["next hop self, iBGP", internal, { ...own, nextHop: "self" }, /BGP\.next_hop: 172\.20\.0\.11\n/],
      ["next hop auto, iBGP: kept", internal, own, /BGP\.next_hop: 198\.51\.100\.9\n/],
    ])("of another's route: %s", async (_why, lines, terms, expected) => {
      bird.start(birdConf(lines));
      await around.startBetween(terms);
      await eventually(shown, expect.stringMatching(expected));
    });

    test("RFC 9494 ours is gone for longer than its restart time: a last resort", async () => {
      const one = await start(
        { protocol: "long lived graceful restart on;" },
        { restartTimeSeconds: 1, longLivedSeconds: 600 },
      );
      await eventually(shown, expect.stringMatching(/BGP\.as_path: 64512/));
      one.stop();
      await eventually(shown, expect.stringMatching(/BGP\.community: \(65535,6\)/));
    });
  });

  describe("what ours makes of BIRD's", () => {
    test.each<[string, Lines, Partial<WantedPeer>, string]>([
      [
        "RFC 9234 roles: what comes from above",
        { protocol: "local role provider; require roles on;" },
        { sessionTerms: { role: "customer" } },
        "65000, 100, 65000",
      ],
      [
        "RFC 6793 §4.2.3 a session without four octets: AS4_PATH",
        { protocol: "enable as4 off;", export: "bgp_path.prepend(4200000001);" },
        {},
        "65000 4200000001, 100, undefined",
      ],
      [
        "RFC 8326 §4.1 a link that is about to go",
        { export: "bgp_community.add((65535,0));" },
        {},
        "65000, 0, undefined",
      ],
      [
        "allowed-local-as",
        { export: "bgp_path.prepend(64512);" },
        { allowedLocalAs: 1 },
        "65000 64512, 100, undefined",
      ],
      [
        "not allowed",
        { export: "bgp_path.prepend(64512);" },
        {},
        "AS loop: our AS 64512 is in the path (RFC 4271 §9.1.2)",
      ],
    ])("%s", async (_why, lines, terms, expected) => {
      await start(lines, terms);
      await eventually(() => around.heard(), expected);
    });

    test("a dynamic neighbour: BIRD comes from the network, and is a peer by its terms", async () => {
      bird.start(birdConf({}));
      await around.startListening(parsePrefix("172.20.0.0/29"));
      await eventually(() => around.heard(), "65000, 100, undefined");
      await eventually(() => bird.routes(), ["10.9.0.0/16 via 172.20.0.11 [64512]"]);
    });

    test("RFC 9494 it is gone for longer than its restart time: a last resort", async () => {
      const us = await start(
        { protocol: "graceful restart time 1; long lived graceful restart on; long lived stale time 600;" },
        { longLivedSeconds: 600 },
      );
      await eventually(() => around.heard(), "65000, 100, undefined");
      await bird.kill();
      const paths = () => [...us.speaker.ribs[4].entries()].flatMap((entry) => entry.paths);
      const isLastResort = () =>
        paths().some(({ attributes }) => attributes?.communities?.includes(communities.llgrStale));
      await eventually(isLastResort, true);
      bird.start(birdConf({ protocol: "long lived graceful restart on;" }), { recovers: true });
      await eventually(isLastResort, false);
      await eventually(() => around.heard(), "65000, 100, undefined");
    });
  });
});
