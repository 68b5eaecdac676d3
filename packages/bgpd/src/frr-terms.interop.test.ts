/** What few peers need, with FRR's bgpd on the other side: a line of its configuration and its word for what came of it. */
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { WantedPeer } from "./config.ts";
import { Around } from "./testing/around.ts";
import { eventually, run, wire } from "./testing/bird.ts";
import { Program } from "./testing/program.ts";

interface Lines {
  readonly as?: number;
  /** The AS that it takes ours for. */
  readonly neighbourAs?: number;
  /** What it says of its neighbour. */
  readonly neighbour?: readonly string[];
  /** Of the AS_PATH of what it announces. */
  readonly prepend?: number;
  readonly networks?: readonly string[];
  readonly maximumPrefix?: number;
}

const frrConf = ({
  as = 65000,
  neighbourAs = 64512,
  neighbour = [],
  prepend,
  networks = ["192.0.2.0/24"],
  maximumPrefix = 1000,
}: Lines) => `
frr defaults traditional
route-map OUT permit 10
${prepend === undefined ? "" : ` set as-path prepend ${prepend}`}
router bgp ${as}
 bgp router-id 172.20.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 172.20.0.11 remote-as ${neighbourAs}
 neighbor 172.20.0.11 timers 3 9
 neighbor 172.20.0.11 timers connect 1
 neighbor 172.20.0.11 advertisement-interval 0
${neighbour.map((line) => ` neighbor 172.20.0.11 ${line}`).join("\n")}
 address-family ipv4 unicast
${networks.map((network) => `  network ${network}`).join("\n")}
  neighbor 172.20.0.11 route-map OUT out
  neighbor 172.20.0.11 maximum-prefix ${maximumPrefix}
 exit-address-family
`;

const [internal, own] = [{ as: 64512 }, { peerAs: 64512 }];

unshared(import.meta.url, () => {
  let frr: Program;
  const around = new Around();
  beforeAll(() => {
    wire("tor");
    Around.addAddresses();
  });
  afterEach(async () => {
    around.stop();
    await frr.stop();
  });

  const startFrr = (lines: Lines) => {
    frr = new Program(
      "tor",
      "bgpd.conf",
      frrConf(lines),
      (dir) =>
        `/usr/lib/frr/bgpd -S -Z -n -p 179 -P 0 -f ${dir}/bgpd.conf -i ${dir}/bgpd.pid --vty_socket ${dir}`,
    );
  };
  const ask = (...commands: string[]) => {
    try {
      return run(
        `vtysh --vty_socket ${frr.dir} -d bgpd ${commands.map((c) => `-c '${c}'`).join(" ")} 2>/dev/null`,
      );
    } catch {
      return ""; // not up yet
    }
  };
  const object = (command: string) => JSON.parse(ask(command) || "{}");
  /** Its word for our route: AS_PATH, next hop, and OTC where it has one. */
  const shown = () => {
    const [path] = object("show bgp ipv4 unicast 10.9.0.0/16 json").paths ?? [];
    const text = `${path?.aspath.string}, ${path?.nexthops[0].ip}`;
    return path?.otc === undefined ? text : `${text}, only to customers of ${path.otc}`;
  };
  const we = "172.20.0.11";

  describe("what FRR says of ours", () => {
    test.each<[string, Lines, Partial<WantedPeer>, string]>([
      [
        "RFC 9234 roles: ONLY_TO_CUSTOMER of ours",
        { neighbour: ["local-role customer strict-mode"] },
        { sessionTerms: { role: "provider", roleRequired: true } },
        `64512, ${we}, only to customers of 64512`,
      ],
      [
        "local-as, our own behind it",
        { neighbourAs: 64600 },
        { localAs: 64600, policyTerms: { showBothAses: true } },
        `64600 64512, ${we}`,
      ],
      ["its own local-as", { neighbour: ["local-as 65001"] }, { peerAs: 65001 }, `65001 64512, ${we}`],
    ])("%s", async (_why, lines, terms, expected) => {
      startFrr(lines);
      await around.start(terms);
      await eventually(shown, expected);
    });

    test.each<[string, Lines, Partial<WantedPeer>, string]>([
      ["nothing asked for", {}, {}, `64512 64999 3356 65010, ${we}`],
      ["remove-private-as", {}, { policyTerms: { removePrivateAs: "remove" } }, `64512 3356, ${we}`],
      [
        "remove-private-as replace",
        {},
        { policyTerms: { removePrivateAs: "replace" } },
        `64512 64512 3356 64512, ${we}`,
      ],
      [
        "local-as alone, without our own",
        { neighbourAs: 64600 },
        { localAs: 64600 },
        `64600 64999 3356 65010, ${we}`,
      ],
      [
        "next hop keep",
        { neighbour: ["ebgp-multihop 2"] },
        { nextHop: "keep" },
        "64512 64999 3356 65010, 198.51.100.9",
      ],
      ["next hop self, iBGP", internal, { ...own, nextHop: "self" }, `64999 3356 65010, ${we}`],
      ["next hop auto, iBGP: kept", internal, own, "64999 3356 65010, 198.51.100.9"],
    ])("of another's route: %s", async (_why, lines, terms, expected) => {
      startFrr(lines);
      await around.startBetween(terms);
      await eventually(shown, expect.stringMatching(`(^| )${expected}$`));
    });
  });

  describe("what ours makes of FRR's", () => {
    test.each<[string, Lines, Partial<WantedPeer>, string]>([
      [
        "RFC 9234 roles: what comes from above",
        { neighbour: ["local-role provider"] },
        { sessionTerms: { role: "customer" } },
        "65000, 100, 65000",
      ],
      ["allowed-local-as", { prepend: 64512 }, { allowedLocalAs: 1 }, "65000 64512, 100, undefined"],
      ["not allowed", { prepend: 64512 }, {}, "AS loop: our AS 64512 is in the path (RFC 4271 §9.1.2)"],
    ])("%s", async (_why, lines, terms, expected) => {
      startFrr(lines);
      await around.start(terms);
      await eventually(() => around.heard(), expected);
    });
  });

  describe("prefix limits, RFC 4486", () => {
    const peer = () => [...(around.us?.speaker.peers.values() ?? [])][0];
    const state = () => peer()?.session.state;
    const neighbour = () => object(`show bgp neighbors ${we} json`)[we] ?? {};

    test("ours: FRR hears why, and is let in again after the restart time", async () => {
      startFrr({ networks: ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"] });
      const prefixLimits = { 4: { max: 2, warnPercent: 80, exceeded: { restartSeconds: 2 } } };
      await around.start({ policyTerms: { prefixLimits } }, []); // what it says back to us counts, too
      await eventually(
        () => neighbour().lastNotificationReason,
        expect.stringMatching("Maximum Number of Prefixes"),
      );
      expect(around.us?.learned(4)).toBe(0);
      ask(
        ...["configure terminal", "router bgp 65000", "address-family ipv4 unicast"],
        "no network 203.0.113.0/24",
      );
      await eventually(() => around.us?.learned(4), 2);
      expect(neighbour().bgpState).toBe("Established");
    });

    test("FRR's: ours says what it was told, and comes back when FRR lets it", async () => {
      startFrr({ maximumPrefix: 2 });
      const us = await around.start({});
      const announce = (...all: string[]) =>
        us.speaker.setOrigins(new Map(all.map((text) => [text, parsePrefix(text)])));
      await eventually(shown, `64512, ${we}`);
      announce("10.9.0.0/16", "10.10.0.0/16", "10.11.0.0/16"); // FRR counts before it adds
      await eventually(() => neighbour().addressFamilyInfo?.ipv4Unicast?.acceptedPrefixCounter, 3);
      announce("10.9.0.0/16", "10.10.0.0/16", "10.11.0.0/16", "10.12.0.0/16");
      await eventually(
        () => peer()?.faults.received?.words,
        expect.stringMatching("Cease: Maximum Number of Prefixes Reached"),
      );
      announce("10.9.0.0/16");
      ask(`clear bgp ${we}`);
      await eventually(state, "Established");
      await eventually(shown, `64512, ${we}`);
    });
  });
});
