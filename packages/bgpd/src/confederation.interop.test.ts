/**
 * RFC 5065: an internal peer that is a member of a confederation. Ours is a member of none, and takes what such a peer says of the
 * other members: inside its AS it is as good as theirs, outside nobody hears of them. The verdict is FRR's and BIRD's.
 */
import { afterAll, afterEach, beforeAll, describe, test } from "@jest/globals";
import { formatAsPath } from "@margay/bgp";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { eventually, run, wire } from "./testing/bird.ts";
import { Ours } from "./testing/ours.ts";
import { Program } from "./testing/program.ts";

/** Beside ours at 172.20.0.11, AS 65001: a member of the same AS, one of another member AS, and a router of another AS. */
const [inside, member, outside] = ["172.20.0.2", "172.20.0.4", "172.20.0.5"];

interface Scene {
  readonly address: string;
  readonly as: number;
  /** The other member AS. */
  readonly others?: number;
  readonly neighbours: readonly { readonly address: string; readonly as: number }[];
  readonly networks: readonly string[];
}

const scenes: Readonly<Record<"inside" | "member" | "outside", Scene>> = {
  inside: {
    ...{ address: inside, as: 65001, others: 65002, networks: [] },
    neighbours: [
      { address: "172.20.0.11", as: 65001 },
      { address: member, as: 65002 },
    ],
  },
  member: {
    ...{ address: member, as: 65002, others: 65001, networks: ["192.0.2.0/24", "198.51.100.0/24"] },
    neighbours: [{ address: inside, as: 65001 }],
  },
  outside: {
    ...{ address: outside, as: 65010, networks: ["192.0.2.0/24", "203.0.113.0/24"] },
    neighbours: [{ address: "172.20.0.11", as: 65001 }],
  },
};

const frrConf = ({ address, as, others, neighbours, networks }: Scene) => `
frr defaults traditional
router bgp ${as}
 bgp router-id ${address}
${others ? ` bgp confederation identifier 100\n bgp confederation peers ${others}` : ""}
 no bgp ebgp-requires-policy
 no bgp network import-check
${neighbours
  .map(
    (n) => ` neighbor ${n.address} remote-as ${n.as}
 neighbor ${n.address} update-source ${address}
 neighbor ${n.address} timers connect 1
 neighbor ${n.address} advertisement-interval 0`,
  )
  .join("\n")}
 address-family ipv4 unicast
${networks.map((network) => `  network ${network}`).join("\n")}
 exit-address-family
`;

const birdConf = ({ address, as, others, neighbours, networks }: Scene) => `
router id ${address}; protocol device {} protocol direct { ipv4; }
protocol static { ipv4; ${networks.map((network) => `route ${network} blackhole;`).join(" ")} }
${neighbours
  .map(
    (n, i) => `protocol bgp n${i} {
  local ${address} as ${as}; neighbor ${n.address} as ${n.as}; strict bind yes; multihop 2;
  ${others ? `confederation 100; confederation member ${n.as === as ? "no" : "yes"};` : ""}
  connect delay time 1; connect retry time 1; error wait time 1, 1;
  ipv4 { import all; export where source = RTS_STATIC || source = RTS_BGP; };
}`,
  )
  .join("\n")}
`;

const startFrr = (scene: Scene) =>
  new Program(
    "tor",
    "bgpd.conf",
    frrConf(scene),
    (dir) =>
      `/usr/lib/frr/bgpd -S -Z -n -l ${scene.address} -p 179 -P 0 -f ${dir}/bgpd.conf -i ${dir}/bgpd.pid --vty_socket ${dir}`,
  );
const startBird = (scene: Scene) =>
  new Program("tor", "bird.conf", birdConf(scene), (dir) => `bird -f -c ${dir}/bird.conf -s ${dir}/bird.ctl`);

const said = (command: string) => {
  try {
    return run(`${command} 2>/dev/null`);
  } catch {
    return ""; // not up yet
  }
};
/** AS_PATH of a prefix in the daemon's table, undefined while it has none. */
const pathInFrr = ({ dir }: Program, prefix: string): string | undefined =>
  JSON.parse(said(`vtysh --vty_socket ${dir} -d bgpd -c 'show bgp ipv4 unicast ${prefix} json'`) || "{}")
    .paths?.[0]?.aspath.string;
const pathInBird = ({ dir }: Program, prefix: string): string | undefined =>
  /BGP\.as_path: ?(.*)/.exec(said(`birdc -s ${dir}/bird.ctl show route ${prefix} all`))?.[1]?.trim();

unshared(import.meta.url, () => {
  const running: Program[] = [];
  const start = (program: Program) => {
    running.push(program);
    return program;
  };
  let us: Ours;
  let router: Program;
  beforeAll(async () => {
    wire("tor");
    run(`ip -n tor addr add ${member}/24 dev eth0; ip -n tor addr add ${outside}/24 dev eth0`);
    router = startFrr(scenes.outside);
    const peer = (address: string, peerAs: number) => ({
      ...{ address: parseAddress(address), localAs: 65001, peerAs },
    });
    us = await Ours.start({
      ...{ n: 11, as: 65001, peers: [peer(inside, 65001), peer(outside, 65010)] },
      origins: new Map([["10.9.0.0/16", parsePrefix("10.9.0.0/16")]]),
    });
  });
  afterEach(async () => {
    for (const program of running.splice(0)) await program.stop();
  });
  afterAll(async () => {
    us.stop();
    await router.stop();
  });

  /** Paths of a prefix here, the best first: from which AS, with which AS_PATH. */
  const here = (prefix: string) => {
    const found = [...us.speaker.ribs[4].entries()].find((entry) => formatPrefix(entry.prefix) === prefix);
    const { best, paths = [] } = found ?? {};
    const ranked = paths.toSorted(
      (a, b) => Number(b.source === best?.source) - Number(a.source === best?.source),
    );
    return ranked.map(({ source, attributes }) => `${source.as}: ${formatAsPath(attributes?.asPath ?? [])}`);
  };

  describe.each([
    ["FRR", startFrr, pathInFrr],
    ["BIRD", startBird, pathInBird],
  ] as const)("members that are %s", (_name, startOne, pathIn) => {
    test("their path is heard, counts for nothing, and does not leave; what is ours reaches the other member AS", async () => {
      start(startOne(scenes.inside));
      const other = start(startOne(scenes.member));
      await eventually(() => here("198.51.100.0/24"), ["65001: (65002)"]);
      await eventually(() => here("192.0.2.0/24"), ["65001: (65002)", "65010: 65010"]); // shorter by one
      await eventually(() => pathInFrr(router, "198.51.100.0/24"), "65001");
      await eventually(() => pathIn(other, "10.9.0.0/16"), "(65001)");
      await eventually(() => pathIn(other, "203.0.113.0/24"), "(65001) 65010");
    });
  });
});
