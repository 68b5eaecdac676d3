/**
 * Unnumbered peers: FRR's `neighbor eth0 interface remote-as external`, in which neither side is told an address. The verdict is
 * FRR's table and the kernel's.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { unsharedWithUsers } from "@margay/testing";
import type { WantedPeer } from "./config.ts";
import { Engine, type Wanted } from "./engine.ts";
import { readText } from "./standalone/read.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { eventually, kernelRoutes, run } from "./testing/bird.ts";
import { Frr, frrProgram } from "./testing/frr.ts";
import { lacking } from "./testing/others.ts";
import { quiet } from "./testing/speakers.ts";
import { located, unnumbered } from "./unnumbered.ts";

describe("where a peer's address comes from", () => {
  const common = {
    ...({
      type: "global",
      port: 179,
      localAs: 64512,
      peerAs: 65000,
      client: false,
      nextHop: "auto",
    } as const),
    ...{ holdTimeSeconds: 9, restartTimeSeconds: 30, allowedLocalAs: 0 },
  };
  const on = (device: string) => unnumbered({ ...common, name: device, device });
  const fixed: WantedPeer = { ...common, name: "tor", address: parseAddress("fe80::2"), device: "eth1" };
  const given = new Map([
    ["fe80::2%eth1", fixed],
    ["%eth1", on("eth1")],
    ["%eth2", on("eth2")],
  ]);
  const shown = (found: readonly [string, string][]) =>
    [...located(given, new Map(found.map(([dev, text]) => [dev, parseAddress(text)])))].map(
      ([key, { name, problem }]) => `${key} ${name}: ${problem ?? "ok"}`,
    );

  test.each<[string, [string, string][], string[]]>([
    [
      "nobody was seen: the sessions stay down and say so",
      [],
      [
        "fe80::2%eth1 tor: ok",
        "%eth1 eth1: no router has advertised itself on eth1 yet",
        "%eth2 eth2: no router has advertised itself on eth2 yet",
      ],
    ],
    [
      "each goes by the address that was found",
      [
        ["eth1", "fe80::a"],
        ["eth2", "fe80::b"],
      ],
      ["fe80::2%eth1 tor: ok", "fe80::a%eth1 eth1: ok", "fe80::b%eth2 eth2: ok"],
    ],
    [
      "one address on several interfaces: each is another peer",
      [
        ["eth1", "fe80::a"],
        ["eth2", "fe80::2"],
      ],
      ["fe80::2%eth1 tor: ok", "fe80::a%eth1 eth1: ok", "fe80::2%eth2 eth2: ok"],
    ],
    [
      "a configured peer on the same interface comes first",
      [["eth1", "fe80::2"]],
      [
        "fe80::2%eth1 tor: ok",
        "%eth1 eth1: its address fe80::2%eth1 is also that of tor",
        "%eth2 eth2: no router has advertised itself on eth2 yet",
      ],
    ],
  ])("%s", (_why, found, expected) => {
    expect(shown(found)).toEqual(expected);
  });
});

const ours = `
local: { as: 64512, router-id: 172.20.0.11 }
networks: [10.244.1.0/26, "fd00:10:244::40/122"]
ebgp-policy: accept-all
neighbors:
  - { interface: eth1, as: 65000, hold-time: 9, connect-retry-time: 1 }
`;
const zebra = `
interface eth0
 no ipv6 nd suppress-ra
 ipv6 nd ra-interval 1
`;
const bgpd = `
router bgp 65000
 bgp router-id 172.20.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor eth0 interface remote-as external
 neighbor eth0 timers connect 1
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:1::/48
  neighbor eth0 activate
 exit-address-family
`;

unsharedWithUsers(import.meta.url, () => {
  const why = lacking(frrProgram);
  if (why) {
    test(`left out: FRR ${why}`, () => {});
    return;
  }
  const [frr, second] = [new Frr("tor"), new Frr("tor2")];
  let engine: Engine;
  let wanted: Wanted;
  const peer = () => [...engine.speaker.peers.values()][0];

  beforeAll(async () => {
    run(`set -e
      sysctl -qw net.ipv6.conf.all.forwarding=1
      ip netns add tor; ip link add eth1 type veth peer name eth0 netns tor
      ip link set eth1 up; ip -n tor link set eth0 up; ip -n tor link set lo up`);
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    wanted = wantedOf(readText(ours, "router.yaml"), { interfaces: [] });
    engine.apply(wanted);
  });
  afterAll(async () => {
    await engine.stop();
    await frr.remove();
    await second.remove();
  });

  describe("with FRR, no address on either side", () => {
    test("nobody is there yet, and that is said", () => {
      expect(peer()?.wanted.problem).toBe("no router has advertised itself on eth1 yet");
    });

    test("FRR is found, and finds us: routes of both families, IPv4 by way of IPv6 in both kernels' words", async () => {
      frr.start({ zebra, bgpd });
      await eventually(() => peer()?.session.state, "Established");
      expect(peer()?.wanted.name).toBe("eth1");
      await eventually(kernelRoutes, [
        expect.stringMatching(/^192\.0\.2\.0\/24 via inet6 fe80::\S+ dev eth1 metric 1024$/),
        expect.stringMatching(/^2001:db8:1::\/48 via fe80::\S+ dev eth1 metric 1024$/),
      ]);
      await eventually(
        () =>
          run("ip -n tor route show proto bgp; ip -n tor -6 route show proto bgp")
            .split("\n")
            .map((l) => l.replace(/fe80::\S+/, "FE80")),
        [
          expect.stringMatching(/^10\.244\.1\.0\/26 .*via inet6 FE80 dev eth0/),
          expect.stringMatching(/^fd00:10:244::40\/122 .*via FE80 dev eth0/),
          "",
        ],
      );
    });

    test("another router at the other end of the wire: it is found by itself, and the session is with it", async () => {
      const before = [...engine.speaker.peers.keys()];
      await frr.stop();
      run("ip -n tor link set eth0 down");
      // Linux tells of a lost carrier a little later, and forgets its neighbours then; one back before that is not told of at all.
      await eventually(() => run("ip -o link show eth1"), expect.stringMatching(" state (LOWERLAYER)?DOWN "));
      run("ip -n tor link set eth0 address 02:00:00:00:00:99 up");
      frr.start({ zebra, bgpd });
      await eventually(() => [...engine.speaker.peers.keys()], ["fe80::ff:fe00:99%eth1"], 200);
      expect(before).not.toContain("fe80::ff:fe00:99");
      await eventually(() => peer()?.session.state, "Established");
      await eventually(kernelRoutes, [
        "192.0.2.0/24 via inet6 fe80::ff:fe00:99 dev eth1 metric 1024",
        "2001:db8:1::/48 via fe80::ff:fe00:99 dev eth1 metric 1024",
      ]);
    });

    test("a second router with the same link-local address on another interface: a session and a way of its own", async () => {
      run(`set -e; ip netns add tor2; ip link add eth2 type veth peer name eth0 netns tor2; ip link set eth2 up
        ip -n tor2 link set eth0 address 02:00:00:00:00:99 up; ip -n tor2 link set lo up`);
      engine.apply(
        wantedOf(readText(`${ours}  - { interface: eth2, as: 65000, hold-time: 9 }`, "r.yaml"), {
          interfaces: [],
        }),
      );
      second.start({ zebra, bgpd: bgpd.replace("router-id 172.20.0.2", "router-id 172.20.0.3") });
      const ways = () => run("ip -d route show 192.0.2.0/24").match(/fe80\S+ dev \S+/g);
      const [one, two] = [1, 2].map((n) => `fe80::ff:fe00:99 dev eth${n}`);
      await eventually(ways, [one, two], 200);
      expect([...engine.speaker.peers.values()].map(({ session }) => session.state)).toEqual([
        "Established",
        "Established",
      ]);
      run("ip -n tor link set eth0 down");
      await eventually(ways, [two], 200);
    });
  });
});
