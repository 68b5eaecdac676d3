/** Our routes in a real kernel, in which others write too: whatever happens, what is wanted is there and nothing foreign was touched. */
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { parsePrefix } from "@margay/net";
import type { Route } from "@margay/netlink";
import { unshared } from "@margay/testing";
import fc from "fast-check";
import { Kernel } from "./kernel.ts";
import { bgpProtocol } from "./kernel-routes.ts";
import { eventually, run } from "./testing/bird.ts";

const quiet = { info: () => {}, warn: () => {}, debug: () => {} };
const keys = Array.from({ length: 6 }, (_, i) => `10.7.${i}.0/24`);

const route = (key: string, hop: number): Route => ({
  ...{ dst: parsePrefix(key), protocol: bgpProtocol, type: "unicast", metric: 1024 },
  nexthops: [{ via: { family: 4, bits: 0xac14_0000n + BigInt(hop) }, dev: "d0" }],
});

/** `"10.7.0.0/24 via 172.20.0.2"`, sorted. */
const listed = (protocol: string) =>
  run(`ip route show proto ${protocol}`)
    .split("\n")
    .flatMap((line) => /^(10\.7\.\S+)(.*? via \S+)?/.exec(line)?.slice(1, 3).join("") ?? [])
    .toSorted();

/** Numbers below n, the same for the same seed. */
function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

unshared(import.meta.url, () => {
  let kernel: Kernel;
  beforeAll(async () => {
    run(`ip link set lo up; ip link add d0 type veth peer name d1
      ip addr add 172.20.0.1/24 dev d0; ip link set d0 up; ip link set d1 up`);
    kernel = await Kernel.open({ log: quiet, onFabric: () => {}, nextHops: () => [] });
    kernel.start();
  });
  afterEach(() => void run("ip route flush proto static"));
  afterAll(() => kernel.stop());

  const seed = fc.readConfigureGlobal().seed ?? 0;
  test(`what is wanted is there, beside others who delete, change and take places (seed ${seed})`, async () => {
    const random = generator(seed);
    const wanted = new Map<string, number>();
    const foreign = new Set<string>();
    const actions: ((key: string) => void)[] = [
      (key) => {
        const hop = 2 + random(3);
        wanted.set(key, hop);
        kernel.want(key, route(key, hop));
      },
      (key) => {
        wanted.delete(key);
        kernel.want(key, undefined);
      },
      (key) => void run(`ip route del ${key} proto 143 2>&- || true`),
      (key) => {
        if (listed("143").some((line) => line.startsWith(key)))
          run(`ip route change ${key} via 172.20.0.9 proto 143 metric 1024`);
      },
      (key) => {
        if (run(`ip route add ${key} dev d0 proto static metric 1024 2>&- && echo in || true`))
          foreign.add(key);
      },
      (key) => {
        if (foreign.delete(key)) run(`ip route del ${key} proto static`);
      },
    ];
    for (let round = 0; round < 15; round++) {
      for (let i = 0; i < 5; i++) {
        actions[random(actions.length)]?.(keys[random(keys.length)] ?? "");
        if (random(2) === 0) await new Promise((resolve) => setTimeout(resolve, random(10)));
      }
      const ours = [...wanted].filter(([key]) => !foreign.has(key));
      await eventually(
        () => listed("143"),
        ours.map(([key, hop]) => `${key} via 172.20.0.${hop}`).toSorted(),
      );
      expect(listed("static")).toEqual([...foreign].toSorted());
      const blocked = keys.filter((key) => wanted.has(key) && foreign.has(key));
      await eventually(() => keys.filter((key) => kernel.refusal(key) !== undefined), blocked);
    }
    for (const key of keys) kernel.want(key, undefined);
    await eventually(() => listed("143"), []);
  });
});
