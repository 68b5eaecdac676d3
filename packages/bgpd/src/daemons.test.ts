/**
 * Ours against BIRD, FRR, GoBGP and OpenBGPD. The other daemon stands between two speakers of ours, which announce
 * thousands of routes each: what it has is counted in its own table, what it passes on arrives at the far end.
 */
import { afterAll, describe, expect, test } from "@jest/globals";
import { type Family, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { unsharedWithUsers } from "@margay/testing";
import { eventually, run } from "./testing/bird.ts";
import { internalGtsm, lacking, type Neighbour, Other, type Recipe, recipes } from "./testing/others.ts";
import { Ours } from "./testing/ours.ts";

const password = "sesame";
/** Of each of our speakers, by family. */
const routesEach = { 4: 10_000, 6: 200 } as const;

/** Distinct blocks of one speaker. */
function blocks(n: number): Map<string, Prefix> {
  const v4 = Array.from(
    { length: routesEach[4] },
    (_, i) => `10.${n * 20 + (i >> 10)}.${(i >> 2) & 255}.${(i & 3) << 6}/26`,
  );
  const v6 = Array.from({ length: routesEach[6] }, (_, i) => `fd00:${n}:${(i + 1).toString(16)}::/48`);
  return new Map([...v4, ...v6].map((text) => [text, parsePrefix(text)]));
}

const gtsmText = ({ externalGtsmOnly }: Recipe) => (externalGtsmOnly ? " (it refuses GTSM)" : " GTSM");

unsharedWithUsers(import.meta.url, () => {
  run("ip link add br0 type bridge && ip link set br0 up");
  for (const n of [11, 12])
    run(`ip addr add 172.20.0.${n}/24 dev br0; ip addr add fd00:172:20::${n}/64 dev br0 nodad`);
  const cells = new Map<string, string[]>();
  const passed = (daemon: string, feature: string) =>
    cells.set(daemon, [...(cells.get(daemon) ?? []), feature]);
  afterAll(() => {
    for (const [daemon, features] of cells)
      process.stderr.write(`${daemon.padEnd(9)} ${features.join(" | ")}\n`);
  });

  /** Puts the daemon between two speakers of ours. */
  async function between(
    recipe: Recipe,
    n: number,
    roles: { as: number; ours: [number, number]; client: boolean },
  ) {
    const address = `172.20.0.${n}`;
    const neighbours = [11, 12].map(
      (m, i): Neighbour => ({ address: `172.20.0.${m}`, as: roles.ours[i]!, client: roles.client }),
    ); // two of each
    const gtsm = roles.client ? internalGtsm(recipe) : { ttlSecurityHops: 1 };
    const peer = { address: parseAddress(address), peerAs: roles.as, password, ...gtsm };
    const speakers = await Promise.all(
      [11, 12].map((m, i) =>
        Ours.start({ n: m, as: roles.ours[i]!, peers: [peer], origins: blocks(m - 10) }),
      ),
    );
    const other = new Other(recipe, `x${n}`, {
      ...{ address, address6: `fd00:172:20::${n}`, as: roles.as, neighbours, password },
    });
    const stop = async () => {
      for (const one of speakers) one.stop();
      await other.stop();
    };
    return { speakers, other, stop };
  }

  describe.each(recipes.map((r, i) => [r.name, r, i + 2] as const))("%s", (name, recipe, n) => {
    const why = lacking(recipe);
    if (why) {
      test(`left out: ${why}`, () => {
        passed(name, `left out: ${why}`);
      });
      return;
    }
    run(
      `ip netns add x${n} && ip link add v${n} master br0 type veth peer name eth0 netns x${n} && ip link set v${n} up &&
       ip -n x${n} addr add 172.20.0.${n}/24 dev eth0 && ip -n x${n} addr add fd00:172:20::${n}/64 dev eth0 nodad &&
       ip -n x${n} link set eth0 up && ip -n x${n} link set lo up`,
    );
    const total = (family: Family) => 2 * routesEach[family];

    test("eBGP with MD5 and GTSM: 10,000 routes each way, IPv4 and IPv6 in one IPv4 session; route refresh", async () => {
      const { speakers, other, stop } = await between(recipe, n, {
        as: 65000 + n,
        ours: [64512, 64513],
        client: false,
      });
      try {
        await eventually(() => speakers.map((s) => s.state()), ["Established", "Established"]);
        passed(name, "eBGP MD5 GTSM");
        for (const family of [4, 6] as const) {
          await eventually(() => other.count(family), total(family), 300);
          if (family === 6 && recipe.lacksIPv6) {
            passed(name, `IPv6 to it; ${recipe.lacksIPv6}`);
            continue;
          }
          await eventually(
            () => speakers.map((s) => s.learned(family)),
            [routesEach[family], routesEach[family]],
          );
          passed(name, `IPv${family} ${routesEach[family]} each way`);
        }
        expect(speakers.map((s) => s.state())).toEqual(["Established", "Established"]);
        if (!recipe.refresh) return;
        const [peer] = speakers[0]!.speaker.peers.values(); // one each
        const before = peer!.counts.messagesOut;
        other.refresh("172.20.0.11");
        await eventually(() => peer!.counts.messagesOut > before, true);
        await eventually(() => other.count(4), total(4), 300);
        passed(name, "route refresh");
      } finally {
        await stop();
      }
    });

    test("eBGP over IPv6 with MD5 and GTSM: IPv6 routes both ways", async () => {
      const address = `fd00:172:20::${n}`;
      const peer = { address: parseAddress(address), peerAs: 65000 + n, password, ttlSecurityHops: 1 };
      const speakers = await Promise.all(
        [11, 12].map((m) =>
          Ours.start({ n: m, as: 64501 + m, overIPv6: true, peers: [peer], origins: blocks(m - 10) }),
        ),
      );
      const neighbours = [11, 12].map((m) => ({
        ...{ address: `fd00:172:20::${m}`, as: 64501 + m, client: false },
      }));
      const other = new Other(recipe, `x${n}`, {
        ...{ address, address6: address, routerId: `172.20.0.${n}`, as: 65000 + n, neighbours, password },
      });
      try {
        await eventually(() => other.count(6), total(6), 300);
        await eventually(() => speakers.map((s) => s.learned(6)), [routesEach[6], routesEach[6]]);
        passed(name, `IPv6 ${routesEach[6]} each way over IPv6, MD5 GTSM`);
      } finally {
        for (const one of speakers) one.stop();
        await other.stop();
      }
    });

    test("killed and back, ours and then theirs: no route is gone for a moment", async () => {
      const roles = { as: 65000 + n, ours: 64512 };
      const peer = {
        address: parseAddress(`172.20.0.${n}`),
        peerAs: roles.as,
        password,
        ttlSecurityHops: 1,
      };
      const few = new Map([...blocks(1)].slice(0, 100));
      const ours = { n: 11, as: roles.ours, peers: [peer], origins: few };
      let us = await Ours.start(ours);
      const neighbours = [{ address: "172.20.0.11", as: roles.ours, client: false }];
      const other = new Other(recipe, `x${n}`, {
        ...{ address: `172.20.0.${n}`, address6: `fd00:172:20::${n}`, as: roles.as, neighbours, password },
        own: "203.0.113.0/24",
      });
      try {
        await eventually(() => other.announce(), true, 200);
        const all = few.size + 1;
        await eventually(() => other.count(4), all, 300);
        await eventually(() => us.learned(4), 1);

        us.stop(); // TCP closes without a NOTIFICATION, as after a kill
        const seen = new Set([other.count(4)]);
        us = await Ours.start({ ...ours, restarting: true });
        await eventually(() => {
          seen.add(other.count(4));
          return us.speaker.hasConverged;
        }, true);
        await eventually(() => us.learned(4), 1);
        seen.add(other.count(4));
        expect([...seen]).toEqual([all]);
        passed(name, "our restart");

        const least = { learned: 1 };
        const watch = setInterval(() => {
          least.learned = Math.min(least.learned, us.learned(4));
        }, 20);
        await other.kill();
        await eventually(() => us.state(), expect.not.stringMatching("Established"));
        if (recipe.keepsNothing) await eventually(() => us.learned(4), 0);
        other.startAgain();
        await eventually(() => other.announce(), true, 20);
        await eventually(() => us.state(), "Established");
        await eventually(() => other.count(4), all, 300);
        clearInterval(watch);
        await eventually(() => us.learned(4), 1);
        if (!recipe.keepsNothing) expect(least.learned).toBe(1);
        passed(name, recipe.keepsNothing ? "their restart (they ask for no time)" : "their restart");
      } finally {
        us.stop();
        await other.stop();
      }
    });

    test("iBGP, theirs as reflector of ours", async () => {
      const { speakers, other, stop } = await between(recipe, n, {
        as: 64512,
        ours: [64512, 64512],
        client: true,
      });
      try {
        for (const family of [4, 6] as const) {
          await eventually(() => other.count(family), total(family), 300);
          await eventually(
            () => speakers.map((s) => s.learned(family)),
            [routesEach[family], routesEach[family]],
          );
        }
        passed(name, `iBGP${gtsmText(recipe)}, their reflector`);
      } finally {
        await stop();
      }
    });

    test("iBGP, ours as reflector: it learns another client's routes from us", async () => {
      const peer = {
        address: parseAddress(`172.20.0.${n}`),
        name: "other",
        client: true,
        password,
        ...internalGtsm(recipe),
      };
      const client = { address: parseAddress("172.20.0.12"), name: "twelve", client: true };
      const us = await Ours.start({
        ...{ n: 11, as: 64512, peers: [peer, client], clusterId: 77, origins: blocks(1) },
      });
      const twelve = await Ours.start({
        ...{ n: 12, as: 64512, peers: [{ address: parseAddress("172.20.0.11") }], origins: blocks(2) },
      });
      const neighbours = [{ address: "172.20.0.11", as: 64512, client: false }];
      const other = new Other(recipe, `x${n}`, {
        ...{ address: `172.20.0.${n}`, address6: `fd00:172:20::${n}`, as: 64512, neighbours, password },
      });
      try {
        for (const family of [4, 6] as const) await eventually(() => other.count(family), total(family), 300);
        passed(name, `iBGP${gtsmText(recipe)}, our reflector`);
      } finally {
        us.stop();
        twelve.stop();
        await other.stop();
      }
    });
  });
});
