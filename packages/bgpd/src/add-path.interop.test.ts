/**
 * ADD-PATH (RFC 7911) with the daemons that have it: two speakers of ours announce the same prefixes, and both paths of
 * each must arrive behind a reflector, theirs or ours.
 */
import { describe, expect, test } from "@jest/globals";
import type { Rib } from "@margay/bgp";
import { type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { unsharedWithUsers } from "@margay/testing";
import { eventually, run } from "./testing/bird.ts";
import { internalGtsm, lacking, Other, type Recipe, recipes } from "./testing/others.ts";
import { Ours } from "./testing/ours.ts";

const prefixes = 50;
const as = 64512;
const password = "sesame";
const texts = [
  ...Array.from({ length: prefixes }, (_, i) => `10.9.${i}.0/24`),
  ...Array.from({ length: prefixes }, (_, i) => `fd00:9:${i}::/48`),
];
const origins = new Map<string, Prefix>(texts.map((text) => [text, parsePrefix(text)]));
/** The first ten of each family. */
const few = new Map([...origins].filter((_, i) => i % prefixes < 10));

/** How each daemon is told, and how it prints the number of paths in one of its tables. */
const ways: Readonly<Record<string, { tell: (text: string) => string; paths: Recipe["count"] }>> = {
  BIRD: {
    tell: (text) => text.replaceAll(/ipv[46] \{(?= import)/g, "$& add paths on;"),
    paths: (dir, family) =>
      `birdc -s ${dir}/bird.ctl show route table master${family} count | sed -n 's/^\\([0-9]*\\) of .*/\\1/p'`,
  },
  FRR: {
    tell: (text) => text.replaceAll(/ {2}neighbor (\S+) activate/g, "$&\n  neighbor $1 addpath-tx-all-paths"),
    paths: (dir, family) =>
      `vtysh --vty_socket ${dir} -d bgpd -c 'show bgp ipv${family} unicast statistics' | sed -n 's/^Total Advertisements *: *\\([0-9]*\\).*/\\1/p'`,
  },
  GoBGP: {
    tell: (text) =>
      text.replaceAll(
        /afi-safi-name = .*/g,
        "$&\n[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8",
      ),
    paths: (_dir, family) =>
      `gobgp global rib summary -a ipv${family} | sed -n 's/.*Path: \\([0-9]*\\).*/\\1/p'`,
  },
  OpenBGPD: {
    tell: (text) =>
      text.replaceAll(
        "announce IPv4 unicast",
        "$&\n announce add-path recv yes\n announce add-path send all",
      ),
    paths: (dir, family) => `bgpctl -s ${dir}/bgpd.ctl show rib inet${family === 6 ? "6" : ""} | grep -c /`,
  },
};

const withPaths = (recipe: Recipe, { tell, paths }: NonNullable<(typeof ways)[string]>): Recipe => ({
  ...recipe,
  configure: (scene) => {
    const { text, ...rest } = recipe.configure(scene);
    return { ...rest, text: tell(text) };
  },
  count: paths,
});

unsharedWithUsers(import.meta.url, () => {
  run("ip link add br0 type bridge && ip link set br0 up");
  for (const n of [11, 12, 13])
    run(`ip addr add 172.20.0.${n}/24 dev br0; ip addr add fd00:172:20::${n}/64 dev br0 nodad`);

  describe.each(
    recipes.flatMap((recipe, i) => {
      const way = ways[recipe.name];
      return way && !lacking(recipe) ? [[recipe.name, withPaths(recipe, way), i + 2] as const] : [];
    }),
  )("%s", (_name, recipe, n) => {
    run(
      `ip netns add x${n} && ip link add v${n} master br0 type veth peer name eth0 netns x${n} && ip link set v${n} up &&
       ip -n x${n} addr add 172.20.0.${n}/24 dev eth0 && ip -n x${n} addr add fd00:172:20::${n}/64 dev eth0 nodad &&
       ip -n x${n} link set eth0 up && ip -n x${n} link set lo up`,
    );
    const scene = { address: `172.20.0.${n}`, address6: `fd00:172:20::${n}`, as, password };
    const theirs = { address: parseAddress(scene.address), password, client: true, ...internalGtsm(recipe) };
    const here = (m: number) => parseAddress(`172.20.0.${m}`);

    /** Distinct next hops of each prefix of both families at a speaker of ours. */
    const hops = ({ speaker: { ribs } }: Ours) => ([4, 6] as const).flatMap((family) => hopsIn(ribs[family]));
    const hopsIn = (rib: Rib) => {
      const count = (id: number) =>
        new Set(rib.paths(id).map((p) => p.attributes?.nextHop?.address.bits)).size;
      return [...rib.ids()].map(count);
    };

    test("received: their reflector tells both paths, and takes one back", async () => {
      const feeders = await Promise.all(
        [11, 12].map((m) => Ours.start({ n: m, as, peers: [theirs], origins })),
      );
      const addPath = { sessionTerms: { addPath: { receive: true } } };
      const us = await Ours.start({ n: 13, as, peers: [{ ...theirs, ...addPath }], origins: new Map() });
      const neighbours = [11, 12, 13].map((m) => ({ address: `172.20.0.${m}`, as, client: true }));
      const other = new Other(recipe, `x${n}`, { ...scene, neighbours });
      try {
        await eventually(() => hops(us), new Array(2 * prefixes).fill(2));
        const [first] = feeders;
        first?.speaker.setOrigins(few);
        await eventually(
          () => hops(us).filter((count) => count === 1),
          new Array(2 * (prefixes - 10)).fill(1),
        );
        expect(us.state()).toBe("Established");
      } finally {
        for (const one of [...feeders, us]) one.stop();
        await other.stop();
      }
    });

    test.each([
      ["all", undefined, 2],
      ["send-max 1", 1, 1],
    ])("sent: our reflector tells %s, and takes them back", async (_what, sendMax, each) => {
      const terms = { addPath: { send: true, ...(sendMax === undefined ? {} : { sendMax }) } };
      const clients = [11, 12].map((m) => ({ address: here(m), name: `n${m}`, client: true }));
      const us = await Ours.start({
        ...{ n: 13, as, clusterId: 77, origins: new Map() },
        peers: [{ ...theirs, name: "other", sessionTerms: terms }, ...clients],
      });
      const feeders = await Promise.all(
        [11, 12].map((m) => Ours.start({ n: m, as, peers: [{ address: here(13) }], origins })),
      );
      const neighbours = [{ address: "172.20.0.13", as, client: false }];
      const other = new Other(recipe, `x${n}`, { ...scene, neighbours });
      try {
        const counts = () => [other.count(4) ?? 0, other.count(6) ?? 0];
        await eventually(counts, [prefixes * each, prefixes * each], 300);
        feeders[0]?.speaker.setOrigins(few);
        const left = 10 * each + (prefixes - 10);
        await eventually(counts, [left, left], 300);
        for (const feeder of feeders) feeder.speaker.setOrigins(new Map());
        await eventually(counts, [0, 0], 300);
      } finally {
        for (const one of [...feeders, us]) one.stop();
        await other.stop();
      }
    });
  });
});
