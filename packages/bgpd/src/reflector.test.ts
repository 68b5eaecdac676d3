/**
 * `margay bgpd --config-file` as a reflector, a process between a BIRD and an FRR with zebra, both of which write their kernels: what a kill -9
 * of it, and of a client of it, costs the routes and the packets of the others. Hold times of 30 s: a kill is heard at once, and who gets no
 * processor for a while must not lose a session, whose routes would go with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { unsharedWithUsers } from "@margay/testing";
import { Bird, eventually, run } from "./testing/bird.ts";
import { Frr, frrProgram } from "./testing/frr.ts";
import { lacking } from "./testing/others.ts";
import { OwnProcess } from "./testing/own-process.ts";
import { pings } from "./testing/pings.ts";

const reflectorYaml = `
local: { as: 64512, router-id: 172.20.0.5 }
kernel: { install: false }
networks: []
neighbors:
  - { name: bird, address: 172.20.0.2, as: 64512, rr-client: true, families: [ipv4], hold-time: 30, connect-retry-time: 1 }
  - { name: frr, address: 172.20.0.3, as: 64512, rr-client: true, families: [ipv4], hold-time: 30, connect-retry-time: 1 }
`;
const birdConf = `
router id 172.20.0.2;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; persist; graceful restart on; }
protocol static { ipv4; route 192.0.2.0/24 blackhole; }
protocol bgp n1 {
  local 172.20.0.2 as 64512; neighbor 172.20.0.5 as 64512; direct;
  hold time 30; keepalive time 10; connect delay time 1; connect retry time 1; error wait time 1, 1; graceful restart on;
  ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
`;
const frrConf = `
frr defaults traditional
router bgp 64512
 bgp router-id 172.20.0.3
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor 172.20.0.5 remote-as 64512
 neighbor 172.20.0.5 timers 10 30
 neighbor 172.20.0.5 timers connect 1
 neighbor 172.20.0.5 advertisement-interval 0
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
`;

/** Every route that a namespace's kernel let go of since, even if it came back. */
class Losses {
  readonly #monitor: ChildProcess;
  #text = "";

  constructor(namespace: string) {
    this.#monitor = spawn("ip", ["-n", namespace, "-o", "monitor", "route"]);
    this.#monitor.stdout?.setEncoding("utf8").on("data", (more: string) => {
      this.#text += more;
    });
  }

  end(): string[] {
    this.#monitor.kill();
    return this.#text.match(/Deleted (192\.0\.2|198\.51\.100)\.0\S*/g) ?? [];
  }
}

unsharedWithUsers(import.meta.url, () => {
  const why = lacking(frrProgram);
  if (why) {
    test(`left out: FRR ${why}`, () => {});
    return;
  }
  const [bird, frr, us] = [new Bird("c2"), new Frr("c3"), new OwnProcess()];
  const up = async () => {
    await eventually(() => us.states("bird", "frr"), ["Established", "Established"]);
    await eventually(routes, "198.51.100.0/24 via 172.20.0.3 192.0.2.0/24 via 172.20.0.2");
  };
  const routes = () =>
    run("ip -n c2 route show 198.51.100.0/24; ip -n c3 route show 192.0.2.0/24")
      .match(/\S+ (nhid \d+ )?via \S+/g)
      ?.map((text) => text.replace(/nhid \d+ /, ""))
      .join(" ");
  /** Packets between the clients: which were lost while something was done. */
  const lostDuring = async (what: () => Promise<void>): Promise<readonly number[]> => {
    const packets = pings("c2", "-I", "192.0.2.1", "198.51.100.1");
    await what();
    const { sent, lost } = await packets.end();
    expect(sent).toBeGreaterThan(20);
    return lost;
  };

  beforeAll(async () => {
    run("ip link add br0 type bridge; ip link set br0 up; ip addr add 172.20.0.5/24 dev br0");
    for (const [n, own] of [
      [2, "192.0.2.1"],
      [3, "198.51.100.1"],
    ] as const)
      run(`set -e
        ip netns add c${n}; ip link add v${n} master br0 type veth peer name eth0 netns c${n}; ip link set v${n} up
        ip -n c${n} addr add 172.20.0.${n}/24 dev eth0; ip -n c${n} addr add ${own}/32 dev lo
        ip -n c${n} link set eth0 up; ip -n c${n} link set lo up`);
    bird.start(birdConf);
    frr.start({ zebra: "hostname c3\n", bgpd: frrConf });
    us.start(reflectorYaml);
    await up();
  });
  afterAll(async () => {
    await us.remove();
    await frr.remove();
    await bird.remove();
  });

  describe("packets between clients of our reflector", () => {
    test("it is killed and comes back: no client's kernel lets go of a route, no packet is lost", async () => {
      const losses = [new Losses("c2"), new Losses("c3")];
      const lost = await lostDuring(async () => {
        await us.kill();
        await eventually(() => bird.control("show protocols n1"), expect.not.stringMatching("Established"));
        us.start(reflectorYaml);
        await eventually(() => us.said.includes('"event":"converged"'), true);
        await up();
      });
      expect([lost, ...losses.map((l) => l.end())]).toEqual([[], [], []]);
    });

    test("BIRD behind it is killed and comes back: FRR keeps its routes", async () => {
      const losses = [new Losses("c2"), new Losses("c3")];
      const lost = await lostDuring(async () => {
        await bird.kill();
        await eventually(() => us.states("bird"), expect.not.arrayContaining(["Established"]));
        bird.start(birdConf, { recovers: true });
        await up();
      });
      expect([lost, ...losses.map((l) => l.end())]).toEqual([[], [], []]);
    });

    // FRR's own kernel is left out: its zebra lets go of the old routes some 50 ms before it writes the new ones (docs/guide/bgp.md).
    test("FRR's bgpd behind it is killed and comes back: BIRD keeps its routes", async () => {
      const losses = new Losses("c2");
      await frr.killBgpd();
      await eventually(() => us.states("frr"), expect.not.arrayContaining(["Established"]));
      frr.startBgpd();
      await up();
      expect(losses.end()).toEqual([]);
    });
  });
});
