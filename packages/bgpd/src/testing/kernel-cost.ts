import { execFileSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { parsePrefix } from "@margay/net";
import { Kernel } from "../kernel.ts";
import { bgpProtocol } from "../kernel-routes.ts";

/**
 * Run in a network namespace of its own (`unshare -Urn`): what one more route costs beside so many. Prints a JSON line for each
 * number given, `{ routes, cpuMs, p50Ms, p99Ms }`: CPU time of one change on average, and ms by the clock until it was in the kernel.
 */
const CHANGES = 100;
const hop = { family: 4, bits: 0x0a00_0002n } as const;

const nth = (n: number) => parsePrefix(`${20 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}.0/24`);

execFileSync("sh", [
  "-ec",
  "ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 10.0.0.1/24 dev d0; ip link set d0 up; ip link set d1 up",
]);

for (const routes of process.argv.slice(2).map(Number)) {
  const log = { info() {}, warn: console.error, debug() {} };
  const kernel = await Kernel.open({ log, onFabric() {}, nextHops: () => [] });
  const want = (n: number) => {
    const dst = nth(n);
    const nexthops = [{ via: hop, dev: "d0" }];
    kernel.want(`${20 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}.0/24`, {
      ...{ dst, protocol: bgpProtocol, type: "unicast", metric: 1024, nexthops },
    });
  };
  const settled = async () => {
    while (!kernel.isSettled) await delay(0.2);
  };
  kernel.start();
  for (let n = 0; n < routes; n++) want(n);
  await settled();
  await delay(200);
  kernel.release();
  await settled();
  const took: number[] = [];
  const before = process.cpuUsage();
  for (let i = 0; i < CHANGES; i++) {
    const began = performance.now();
    want(routes + i);
    await settled();
    took.push(performance.now() - began);
  }
  const { user, system } = process.cpuUsage(before);
  took.sort((a, b) => a - b);
  const rounded = (ms: number | undefined) => Math.round((ms ?? 0) * 100) / 100;
  const [p50Ms, p99Ms] = [rounded(took[CHANGES / 2]), rounded(took[CHANGES - 1])];
  process.stdout.write(
    `${JSON.stringify({ routes, cpuMs: rounded((user + system) / 1000 / CHANGES), p50Ms, p99Ms })}\n`,
  );
  await kernel.stop();
  execFileSync("ip", ["route", "flush", "proto", `${bgpProtocol}`]);
}
