/**
 * Sessions over one interface only: between link-local addresses alone, IPv4 by way of IPv6 next hops (RFC 8950), and between global
 * ones. The verdict is BIRD's table and the kernel's.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { Self, WantedPeer } from "./config.ts";
import { Engine } from "./engine.ts";
import { keyOf } from "./settings.ts";
import { Bird, eventually, kernelRoutes, run } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";

const self: Self = {
  ...{ node: "n1", as: 64512, bgpId: 0xac14000b, addresses: {}, listenPort: 179, bindNodeAddress: false },
  metric: { 4: 1024, 6: 1024 },
};
const peer: WantedPeer = {
  ...{ name: "tor", type: "global", address: parseAddress("fe80::2"), device: "eth1", port: 179 },
  ...{ localAs: 64512, peerAs: 65000, client: false, nextHop: "auto", holdTimeSeconds: 9 },
  ...{ restartTimeSeconds: 30, allowedLocalAs: 0, sessionTerms: { extendedNextHop: true } },
};
/** Peers that dial us. */
const caller = (text: string): WantedPeer => ({
  ...{ ...peer, name: text, address: parseAddress(text), passive: true, sessionTerms: {} },
});
const callers = ["203.0.113.2", "198.51.100.2", "2001:db8:9::2"];
const birdConf = `
router id 172.20.0.2;
protocol device {}
protocol static s4 { ipv4; route 192.0.2.0/24 blackhole; }
protocol static s6 { ipv6; route 2001:db8:1::/48 blackhole; }
protocol bgp n1 {
  local fe80::2 as 65000; neighbor fe80::11%eth0 as 64512;
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export where source = RTS_STATIC; extended next hop on; };
  ipv6 { import all; export where source = RTS_STATIC; };
}
protocol bgp caller {
  local 203.0.113.2 as 65000; neighbor 203.0.113.1 as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 1; ipv4 { import none; export none; };
}
`;

unshared(import.meta.url, () => {
  const bird = new Bird("tor");
  let engine: Engine;

  beforeAll(async () => {
    // eth0 has fe80::/64 too, and comes first: only the peer's interface tells which is meant.
    run(`set -e
      ip link add eth0 type bridge; ip addr add fe80::11/64 dev eth0 nodad; ip link set eth0 up
      ip netns add mallory; ip link add m0 master eth0 type veth peer name eth0 netns mallory; ip link set m0 up
      ip -n mallory addr add fe80::2/64 dev eth0 nodad; ip -n mallory link set eth0 up
      ip addr add 198.51.100.1/24 dev eth0; ip -n mallory addr add 198.51.100.2/24 dev eth0
      ip addr add 2001:db8:9::1/64 dev eth0 nodad; ip -n mallory addr add 2001:db8:9::2/64 dev eth0 nodad
      ip netns add tor; ip link add eth1 type veth peer name eth0 netns tor
      ip addr add fe80::11/64 dev eth1 nodad; ip link set eth1 up
      ip addr add 203.0.113.1/24 dev eth1; ip -n tor addr add 203.0.113.2/24 dev eth0
      ip -n tor addr add fe80::2/64 dev eth0 nodad; ip -n tor link set eth0 up; ip -n tor link set lo up`);
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    bird.start(birdConf);
    engine.apply({
      ...{
        self,
        peers: new Map([peer, ...callers.map(caller)].map((p) => [keyOf(p), p])),
        isExported: () => true,
        exportKey: "all",
      },
      origins: { blocks: [parsePrefix("10.244.1.0/26"), parsePrefix("fd00:10:244::40/122")], borrowed: [] },
    });
  });
  afterAll(async () => {
    await engine.stop();
    await bird.remove();
  });

  describe("a peer on one interface", () => {
    test("a link-local one: routes of both families go both ways, over the peer's interface", async () => {
      await eventually(
        () => bird.routes(),
        ["10.244.1.0/26 via fe80::11 [64512]", "fd00:10:244::40/122 via fe80::11 [64512]"],
      );
      await eventually(kernelRoutes, [
        "192.0.2.0/24 via inet6 fe80::2 dev eth1 metric 1024",
        "2001:db8:1::/48 via fe80::2 dev eth1 metric 1024",
      ]);
      expect(bird.control("show protocols n1")).toMatch(/Established/);
    });

    test("a peer with a global address that dials us over its interface is let in", async () => {
      await eventually(() => bird.control("show protocols caller"), expect.stringMatching(/Established/));
    });

    test.each([
      ["a link-local", "fe80::11%eth0"],
      ["an IPv4", "198.51.100.1"],
      ["an IPv6", "2001:db8:9::1"],
    ])(
      "who has %s address of a peer on another interface is not let in, whatever state the session is in",
      async (_which, us) => {
        const heard = `exec 3<>/dev/tcp/${us}/179 || echo refused; timeout 5 head -c 1 <&3 | wc -c`;
        const { stdout } = await promisify(execFile)("ip", ["netns", "exec", "mallory", "bash", "-c", heard]);
        expect(stdout.trim()).toBe("0"); // not even our OPEN
      },
    );
  });
});
