/** ECMP over BIRD and FRR with weights by link bandwidth (draft-ietf-idr-link-bandwidth); the verdict is the kernel's. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { unshared } from "@margay/testing";
import { Engine } from "./engine.ts";
import { readText } from "./standalone/read.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { Bird, eventually, run } from "./testing/bird.ts";
import { Program } from "./testing/program.ts";
import { quiet } from "./testing/speakers.ts";

const ours = `
local: { as: 64512, router-id: 172.20.0.11, addresses: [172.20.0.11/24] }
ebgp-policy: accept-all
families: [ipv4]
neighbors:
  - { address: 172.20.0.2, as: 65002, hold-time: 9, connect-retry-time: 1 }
  - { address: 172.20.0.3, as: 65003, hold-time: 9, connect-retry-time: 1 }
`;
/** 12.5 MB/s, 100 Mbit/s, as IEEE 754. */
const hundredMbit = "0x4b3ebc20";
const birdConf = (communities: string) => `
router id 172.20.0.2;
protocol device {}
protocol static { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp n1 {
  local 172.20.0.2 as 65002; neighbor 172.20.0.11 as 64512;
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import none; export filter { ${communities} accept; }; };
}
`;
const frrConf = `
route-map OUT permit 10
 set extcommunity bandwidth 300
router bgp 65003
 bgp router-id 172.20.0.3
 no bgp network import-check
 neighbor 172.20.0.11 remote-as 64512
 neighbor 172.20.0.11 timers connect 1
 neighbor 172.20.0.11 advertisement-interval 0
 address-family ipv4 unicast
  network 198.51.100.0/24
  neighbor 172.20.0.11 route-map OUT out
  neighbor 172.20.0.11 prefix-list NONE in
 exit-address-family
ip prefix-list NONE deny any
`;

unshared(import.meta.url, () => {
  const bird = new Bird("x2");
  let frr: Program;
  let engine: Engine;
  const hops = () =>
    [...run("ip route show 198.51.100.0/24").matchAll(/via (\S+) dev br0 weight (\d+)/g)]
      .map(([, via, weight]) => `${via} ${weight}`)
      .sort();

  beforeAll(async () => {
    run("ip link add br0 type bridge; ip addr add 172.20.0.11/24 dev br0; ip link set br0 up");
    for (const n of [2, 3])
      run(`ip netns add x${n}; ip link add v${n} master br0 type veth peer name eth0 netns x${n}; ip link set v${n} up
        ip -n x${n} addr add 172.20.0.${n}/24 dev eth0; ip -n x${n} link set eth0 up; ip -n x${n} link set lo up`);
    bird.start(birdConf(`bgp_ext_community.add((generic, 0x0004fdea, ${hundredMbit}));`));
    frr = new Program(
      "x3",
      "bgpd.conf",
      frrConf,
      (dir) =>
        `/usr/lib/frr/bgpd -S -Z -n -p 179 -P 0 -f ${dir}/bgpd.conf -i ${dir}/bgpd.pid --vty_socket ${dir} --log file:${dir}/bgpd.log`,
    );
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    engine.apply(wantedOf(readText(ours, "router.yaml"), { interfaces: [] }));
  });
  afterAll(async () => {
    await engine.stop();
    await bird.remove();
    await frr.stop();
  });

  describe("ECMP by link bandwidth", () => {
    test("100 Mbit/s from BIRD, 300 from FRR, in transitive communities: a quarter and three", async () => {
      await eventually(hops, ["172.20.0.2 25", "172.20.0.3 75"]);
    });

    test("one of them says nothing of it any more, in the same session: both are equal", async () => {
      bird.configure(birdConf(""));
      await eventually(hops, ["172.20.0.2 1", "172.20.0.3 1"]);
      expect([...engine.speaker.peers.values()].map((p) => p.counts.flaps)).toEqual([0, 0]);
    });
  });
});
