/**
 * A network that is silent for 30 s between two speakers of ours and BIRD, FRR, GoBGP and OpenBGPD, all at once: the ports of
 * the bridge between them are taken out, no interface goes down, so only the timers of BGP and TCP can tell. One
 * speaker has a hold time of 9 s, the other of 90 s. The verdict is the other daemon's table.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { unsharedWithUsers } from "@margay/testing";
import { eventually, run } from "./testing/bird.ts";
import { lacking, Other, recipes } from "./testing/others.ts";
import { Ours } from "./testing/ours.ts";

const cutSeconds = 30;
const password = "sesame";
const origins = (texts: readonly string[]): Map<string, Prefix> =>
  new Map(texts.map((text) => [text, parsePrefix(text)]));
/** What the two announce before, and from the end of the cut on: one network less, two more. */
const before = [
  ["10.11.0.0/24", "10.11.1.0/24", "10.11.2.0/24"],
  ["10.12.0.0/24", "10.12.1.0/24", "10.12.2.0/24"],
];
const after = [
  ["10.11.0.0/24", "10.11.1.0/24", "10.11.8.0/24", "10.11.9.0/24"],
  ["10.12.0.0/24", "10.12.1.0/24", "10.12.8.0/24", "10.12.9.0/24"],
];
const own = "203.0.113.0/24";

/**
 * Routes in a daemon's table when the network comes back: seven where it keeps those of the speaker whose hold timer (9 s)
 * ran out, as RFC 8538 §4 has it; four where a hold timer ends graceful restart (BIRD, which sends no N bit).
 */
const atTheEnd: Readonly<Record<string, number>> = { BIRD: 4, FRR: 7, GoBGP: 7, OpenBGPD: 7 };

unsharedWithUsers(import.meta.url, () => {
  const there = recipes.map((recipe, i) => ({ recipe, n: i + 2 })).filter(({ recipe }) => !lacking(recipe));
  const others = new Map<string, Other>();
  let ours: Ours[] = [];
  const peersOf = (one: Ours) => [...one.speaker.peers.values()];
  const ports = (state: string) =>
    run(there.map(({ n }) => `ip link set v${n} ${state}`).join(" && ") || "true");
  const states = () => ours.map((one) => peersOf(one).map((p) => p.session.state === "Established"));
  /** Which of them have told a speaker of ours their four prefixes; some tell it its own, too. */
  const heard = ({ speaker: { ribs } }: Ours) =>
    there.map(({ recipe: { name } }) => {
      const ids = [...ribs[4].ids()];
      return ids.filter((id) => ribs[4].paths(id).some(({ source }) => source.name === name)).length >= 4;
    });
  const counts = () => [...others.values()].map((other) => other.count(4));

  beforeAll(async () => {
    run("ip link add br0 type bridge && ip link set br0 up");
    for (const n of [11, 12])
      run(`ip addr add 172.20.0.${n}/24 dev br0; ip addr add fd00:172:20::${n}/64 dev br0 nodad`);
    for (const { n } of there)
      run(`ip netns add x${n} && ip link add v${n} master br0 type veth peer name eth0 netns x${n} && ip link set v${n} up &&
       ip -n x${n} addr add 172.20.0.${n}/24 dev eth0 && ip -n x${n} addr add fd00:172:20::${n}/64 dev eth0 nodad &&
       ip -n x${n} link set eth0 up && ip -n x${n} link set lo up`);
    const neighbours = [11, 12].map((m) => ({ address: `172.20.0.${m}`, as: 64500 + m, client: false }));
    for (const { recipe, n } of there)
      others.set(
        recipe.name,
        new Other(recipe, `x${n}`, {
          ...{
            address: `172.20.0.${n}`,
            address6: `fd00:172:20::${n}`,
            as: 65000 + n,
            neighbours,
            password,
            own,
          },
        }),
      );
    for (const other of others.values()) await eventually(() => other.announce(), true, 200);
    ours = await Promise.all(
      [11, 12].map((m, i) =>
        Ours.start({
          ...{ n: m, as: 64500 + m, origins: origins(before[i]!) },
          peers: there.map(({ n, recipe: { name } }) => ({
            ...{
              name,
              address: parseAddress(`172.20.0.${n}`),
              peerAs: 65000 + n,
              password,
              ttlSecurityHops: 1,
            },
            ...{ holdTimeSeconds: m === 11 ? 9 : 90, restartTimeSeconds: 120 },
          })),
        }),
      ),
    );
  });
  afterAll(async () => {
    for (const one of ours) one.stop();
    for (const other of others.values()) await other.stop();
  });

  const flaps = () => ours.map((one) => peersOf(one).map(({ counts }) => counts.flaps));
  const all = <T>(value: T): T[] => there.map(() => value);

  describe(`a cut of ${cutSeconds} s`, () => {
    test("hold time 9 s: a new session; 90 s: the same one; then every table is that of the time after", async () => {
      await eventually(counts, all(7), 300);
      await eventually(() => ours.map(heard), [all(true), all(true)]); // FRR, just started, takes its time to tell
      expect(ours.map((one) => one.learned(4))).toEqual([4, 4]);
      ports("nomaster");
      await new Promise((resolve) => setTimeout(resolve, cutSeconds * 1000));
      expect(states()).toEqual([all(false), all(true)]);
      expect(counts()).toEqual(there.map(({ recipe: { name } }) => atTheEnd[name]));
      expect(ours.map((one) => one.learned(4))).toEqual([4, 4]); // kept: those of BIRD come from the others too
      for (const [i, one] of ours.entries()) one.speaker.setOrigins(origins(after[i]!)); // two of each
      ports("master br0");
      await eventually(states, [all(true), all(true)], 500);
      await eventually(counts, all(9), 300);
      await eventually(() => ours.map((one) => one.learned(4)), [5, 5]);
      expect(flaps()).toEqual([all(1), all(0)]);
    });
  });
});
