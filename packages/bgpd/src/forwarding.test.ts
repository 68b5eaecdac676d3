/**
 * `margay bgpd --config-file` as a process, between a client and routers that write their kernels, a BIRD and an FRR with zebra, and
 * a stream of packets through the first: what a kill -9 of any costs, and a link that is cut.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { unsharedWithUsers } from "@margay/testing";
import { Bird, eventually, run, wire } from "./testing/bird.ts";
import { Frr } from "./testing/frr.ts";
import { OwnProcess } from "./testing/own-process.ts";
import { pings } from "./testing/pings.ts";
import { RouteWatch } from "./testing/route-watch.ts";

const routerYaml = `
local: { as: 64512, router-id: 172.20.0.11 }
networks: [10.9.0.0/24, fd00:9::/64]
neighbors:
  - { name: tor, address: 172.20.0.2, as: 65000, families: [ipv4], hold-time: 9, connect-retry-time: 1, import: accept, export: accept }
  - { name: leaf, address: 172.20.1.2, as: 65001, families: [ipv4], hold-time: 30, connect-retry-time: 1, import: accept, export: accept }
  - { name: leaf6, address: fd00:172:21::2, as: 65001, families: [ipv6], hold-time: 30, connect-retry-time: 1, import: accept, export: accept }
`;
/** So many that they lean on a nexthop object (ADR 17). */
const many = Array.from({ length: 2000 }, (_, n) => `10.${50 + (n >> 8)}.${n & 255}.0/24`);
const birdConf = `
router id 172.20.0.2;
protocol device {}
protocol kernel { ipv4 { export where source = RTS_BGP; }; persist; graceful restart on; }
protocol static { ipv4; route 192.0.2.0/24 blackhole; route 198.51.100.0/24 blackhole; ${many.map((n) => `route ${n} blackhole;`).join(" ")} }
protocol bgp n1 {
  local 172.20.0.2 as 65000;
  neighbor 172.20.0.11 as 64512;
  hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1, 1; graceful restart on;
  ipv4 { import all; export filter {
    if source != RTS_STATIC then reject;
    if net = 198.51.100.0/24 then bgp_path.prepend(65000);
    accept;
  }; };
}
`;

/** Hold times of 30 s: a kill is heard at once, and who gets no processor for three seconds must not lose a session, whose routes would go with it. */
const leaf = ["172.20.1.11", "fd00:172:21::11"];
const frrConf = `
frr defaults traditional
router bgp 65001
 bgp router-id 172.20.1.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
${leaf
  .map(
    (n) => ` neighbor ${n} remote-as 64512
 neighbor ${n} timers 10 30
 neighbor ${n} timers connect 1
 neighbor ${n} advertisement-interval 0`,
  )
  .join("\n")}
 address-family ipv4 unicast
  network 198.51.100.0/24
  no neighbor ${leaf[1]} activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:7::/48
  neighbor ${leaf[1]} activate
 exit-address-family
`;

unsharedWithUsers(import.meta.url, () => {
  const bird = new Bird("tor");
  const frr = new Frr("leaf");
  const us = new OwnProcess();

  const state = async (name = "tor") => (await us.states(name))[0];
  const leafStates = () => us.states("leaf", "leaf6");

  /** A host behind the BIRD, whose route leans on a nexthop object. */
  let host = "";
  const way = () => run(`ip route get fibmatch ${host}`);

  beforeAll(async () => {
    wire("tor");
    run(`set -e
      ip netns add leaf; ip link add leaf0 type veth peer name eth0 netns leaf
      ip addr add 172.20.1.11/24 dev leaf0; ip addr add fd00:172:21::11/64 dev leaf0 nodad; ip link set leaf0 up
      ip -n leaf addr add 172.20.1.2/24 dev eth0; ip -n leaf addr add fd00:172:21::2/64 dev eth0 nodad
      ip -n leaf link set eth0 up; ip -n leaf link set lo up
      ip netns add client; ip link add c0 type veth peer name eth0 netns client
      ip addr add 10.9.0.1/24 dev c0; ip link set c0 up
      ip -n client addr add 10.9.0.2/24 dev eth0; ip -n client link set eth0 up
      ip -n client route add default via 10.9.0.1
      sysctl -qw net.ipv4.ip_forward=1`);
    bird.start(birdConf);
    frr.start({ zebra: "hostname leaf\n", bgpd: frrConf });
    us.start(routerYaml);
    await eventually(() => state(), "Established");
    await eventually(
      () =>
        run(
          "ip -n leaf route show 10.9.0.0/24; ip -n leaf -6 route show fd00:9::/64; ip -6 route show 2001:db8:7::/48",
        ),
      expect.stringMatching(/10\.9\.0\.0.*bgp[\s\S]*fd00:9::.*bgp[\s\S]*2001:db8:7::.*143/),
    );
    await eventually(
      () => run("ip -n tor route show 10.9.0.0/24; ip route show 192.0.2.0/24"),
      expect.stringMatching(/10\.9\.0\.0.*bird[\s\S]*192\.0\.2\.0.*143/),
    );
  });
  beforeAll(async () => {
    const leaning = () => /^(10\.5\d\.\d+)\.0\/24 nhid/m.exec(run("ip route show proto 143"))?.[1];
    await eventually(leaning, expect.any(String));
    host = `${leaning()}.1`;
    run(`ip -n tor addr add ${host}/32 dev lo`);
  });
  afterAll(async () => {
    await us.remove();
    await frr.remove();
    await bird.remove();
  });

  /** How many of our networks are in its kernel, by family. */
  const leafRoutes = () =>
    [run("ip -n leaf route show 10.9.0.0/24"), run("ip -n leaf -6 route show fd00:9::/64")]
      .map((text) => text.match(/proto bgp/g)?.length ?? 0)
      .join(" ");

  describe("packets through two speakers", () => {
    test("ours is killed and comes back: none is lost, and FRR's kernel keeps our networks", async () => {
      const packets = pings("client", host);
      const before = way();
      const seen = new Set([leafRoutes()]);
      await us.kill();
      await eventually(() => bird.control("show protocols n1"), expect.not.stringMatching("Established"));
      us.start(routerYaml);
      await eventually(() => {
        seen.add(leafRoutes());
        return us.said.includes('"event":"converged"');
      }, true);
      await eventually(() => state(), "Established");
      await eventually(leafStates, ["Established", "Established"]);
      const { sent, lost } = await packets.end();
      expect(sent).toBeGreaterThan(20);
      expect(lost).toEqual([]);
      expect([...seen]).toEqual(["1 1"]);
      expect(way()).toBe(before); // the object that the killed one made, too
    });

    test("FRR's bgpd is killed and comes back, sessions over IPv4 and IPv6: no route of it is gone for a moment", async () => {
      const watch = new RouteWatch();
      await frr.killBgpd();
      await eventually(leafStates, expect.not.arrayContaining(["Established"]));
      frr.startBgpd();
      await eventually(leafStates, ["Established", "Established"]);
      await eventually(leafRoutes, "1 1");
      expect(watch.lost).toEqual([]);
      watch.close();
    });

    test("theirs is killed and comes back: none is lost", async () => {
      const packets = pings("client", host);
      const watch = new RouteWatch();
      await bird.kill();
      await eventually(() => state(), expect.not.stringMatching("Established"));
      bird.start(birdConf, { recovers: true });
      await eventually(() => state(), "Established");
      await eventually(() => bird.routes(), expect.arrayContaining(["10.9.0.0/24 via 172.20.0.11 [64512]"]));
      const { sent, lost } = await packets.end();
      expect(sent).toBeGreaterThan(20);
      expect(lost).toEqual([]);
      expect(watch.lost).toEqual([]);
      watch.close();
    });

    test("SIGHUP with another file: BIRD has what it adds in the same session, and no packet is lost", async () => {
      const session = () => /^n1 .*/m.exec(bird.control("show protocols n1"))?.[0]; // with the time since when
      const [before, packets] = [session(), pings("client", host)];
      us.hangUp(routerYaml.replace("networks: [", "networks: [10.8.0.0/24, "));
      await eventually(() => us.said, expect.stringMatching('"why":"SIGHUP"'));
      await eventually(() => bird.routes(), expect.arrayContaining(["10.8.0.0/24 via 172.20.0.11 [64512]"]));
      const until = packets.back + 21;
      await eventually(() => packets.back >= until, true);
      expect(session()).toBe(before);
      expect((await packets.end()).lost).toEqual([]);
    });

    test("the link is cut for longer than the hold time (9 s): sessions, routes and packets are back after it", async () => {
      run("ip link set eth0 down");
      await eventually(() => state(), expect.not.stringMatching("Established"));
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      run("ip link set eth0 up");
      await eventually(() => state(), "Established");
      await eventually(() => run("ip route show 192.0.2.0/24"), expect.stringMatching("via 172.20.0.2"));
      await eventually(() => bird.routes(), expect.arrayContaining(["10.9.0.0/24 via 172.20.0.11 [64512]"]));
      const answers = () => run(`ip netns exec client ping -n -q -c 1 -W 1 ${host} || true`);
      await eventually(answers, expect.stringMatching(" 1 received"));
    });
  });

  describe("`margay bgp`, as an operator types it", () => {
    /** What FRR says of its session with ours over IPv4. */
    const neighbour = () =>
      JSON.parse(frr.show(`bgp neighbors ${leaf[0]} json`) || "{}")[leaf[0] ?? ""] ?? {};
    const printed = (words: readonly string[], ...lines: RegExp[]) =>
      eventually(async () => {
        const text = await us.bgp(...words);
        return lines.filter((line) => !line.test(text)).map(() => text);
      }, []);

    test("peers: what FRR has of the session, and is told", async () => {
      const out = many.length + 3; // 10.8.0.0/24, 10.9.0.0/24, 192.0.2.0/24
      await eventually(() => neighbour().addressFamilyInfo?.ipv4Unicast?.acceptedPrefixCounter, out);
      await printed(["peers"], /^leaf +172\.20\.1\.2 +65001 +Established/m);
      await printed(
        ["peers", "leaf"],
        new RegExp(`^prefixes +${out + 1} in, 1 accepted, 1 best, ${out} out$`, "m"), // it says ours back
        /^its capabilities .*route refresh/m,
      );
    });

    test("routes --why: the path that the kernel has, and at which step the other lost", async () => {
      expect(run("ip route show 198.51.100.0/24")).toMatch("via 172.20.1.2");
      await printed(
        ["routes", "198.51.100.7", "--why"],
        /^path +198\.51\.100\.0\/24 by 172\.20\.1\.2, from leaf\nis +the best[^#]*?\nkernel +installed\n\n/,
        /\n\npath +198\.51\.100\.0\/24 by 172\.20\.0\.2, from tor\nis +not the best\nlost at +step 4, longer AS_PATH .*\nAS path +65000 65000\n/,
      );
      expect(await us.bgp("routes", "198.51.100.0/24", "--peer", "leaf")).not.toMatch("tor");
    });

    test("refresh: FRR is asked for all again in the same session", async () => {
      const asked = () => neighbour().messageStats?.routeRefreshRecv;
      const [before, established] = [asked(), neighbour().connectionsEstablished];
      expect(await us.bgp("refresh", "leaf", "--direction", "in")).toMatch("asked for everything again");
      await eventually(asked, before + 1);
      expect(neighbour().connectionsEstablished).toBe(established);
    });

    test("shutdown, start and reset: FRR has the operator's words, and the session comes back when it may", async () => {
      const { connectionsEstablished: before } = neighbour();
      const words = () => neighbour().lastShutdownDescription;
      expect(await us.bgp("shutdown", "leaf", "-m", "until 14:00")).toMatch("shut down until started again");
      await eventually(words, "until 14:00");
      await printed(["peers", "leaf"], /^last error sent +Administrative Shutdown: until 14:00 /m);
      expect(await us.bgp("start", "leaf")).toMatch("started");
      await eventually(() => neighbour().connectionsEstablished, before + 1);
      expect(await us.bgp("reset", "leaf", "-m", "new cable")).toMatch("reset, it starts again by itself");
      await eventually(() => neighbour().connectionsEstablished, before + 2);
      await printed(["peers", "leaf"], /^last error sent +Administrative Reset: new cable /m);
    });
  });
});
