/**
 * A route of ours that somebody deletes or changes is back within a second: any of 100,000, both families, one hop of several, and 5,000 at
 * once. All of them at once: each costs no more than it did then. Within how many seconds that is, the machine says: a row of `npm run bench -- bgp`.
 */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  type Address,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "@margay/net";
import type { Route } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { Kernel } from "./kernel.ts";
import { bgpProtocol } from "./kernel-routes.ts";
import { eventually, run } from "./testing/bird.ts";
import { ownMs } from "./testing/own-ms.ts";

const many = 100_000;
const some = 5_000;
const hostOf = (n: number) => formatAddress({ family: 4, bits: nth(n).bits + 1n });
const nth = (n: number): Prefix => ({ family: 4, bits: 0x14_00_00_00n + (BigInt(n) << 8n), length: 24 });

unshared(import.meta.url, () => {
  let kernel: Kernel;
  const want = (dst: Prefix, ...hops: Address[]) => {
    const route: Route = {
      ...{ dst, protocol: bgpProtocol, type: "unicast", metric: 1024 },
      nexthops: hops.map((via) => ({ via, dev: "d0" })),
    };
    kernel.want(formatPrefix(dst), route);
  };
  /** Whatever it leans on. */
  const shown = (host: string) =>
    run(`ip route get fibmatch ${host} 2>&1 | tr -s ' \\n' ' '`).replace(/nhid \d+ /, "");
  /** Seconds of ours until all is written again. The kernel is not asked meanwhile: that would keep us waiting. */
  const repair = async (command: string) => {
    const { repairs } = kernel.counts;
    run(command);
    const began = ownMs();
    await eventually(() => kernel.counts.repairs > repairs && kernel.isSettled, true, 5);
    return (ownMs() - began) / 1000;
  };
  const one = parseAddress("172.20.0.2");

  beforeAll(async () => {
    run(`ip link set lo up; ip link add d0 type veth peer name d1
      ip addr add 172.20.0.1/24 dev d0; ip addr add fd00::1/64 dev d0 nodad; ip link set d0 up; ip link set d1 up`);
    kernel = await Kernel.open({
      log: { info() {}, warn() {}, debug() {} },
      onFabric() {},
      nextHops: () => [one],
    });
    kernel.start();
    want(parsePrefix("10.7.0.0/24"), one);
    want(parsePrefix("10.7.1.0/24"), one, parseAddress("172.20.0.3"));
    want(parsePrefix("fd07::/64"), parseAddress("fd00::2"));
    want(parsePrefix("fd07:1::/64"), parseAddress("fd00::2"), parseAddress("fd00::3"));
    for (let n = 0; n < many; n++) want(nth(n), one);
    for (let n = many; n < many + some; n++) want(nth(n), parseAddress("172.20.0.4"));
    await eventually(() => kernel.isSettled, true);
  });
  afterAll(() => kernel.stop());

  describe(`beside ${many} routes`, () => {
    test.each([
      ["deleted", "10.7.0.1", "ip route del 10.7.0.0/24 proto 143"],
      ["changed", "10.7.0.1", "ip route change 10.7.0.0/24 via 172.20.0.9 proto 143 metric 1024"],
      [
        "one hop of two gone",
        "10.7.1.0/24",
        "ip route change 10.7.1.0/24 via 172.20.0.2 proto 143 metric 1024",
      ],
      ["IPv6, deleted", "fd07::1", "ip -6 route del fd07::/64 proto 143"],
      ["IPv6, one hop of two gone", "fd07:1::1", "ip -6 route del fd07:1::/64 via fd00::3"],
    ])("%s", async (_what, host, command) => {
      const before = shown(host);
      expect(before).toMatch("proto 143");
      expect(await repair(command)).toBeLessThan(1);
      expect(shown(host)).toBe(before);
    });

    const count = () => Number(run("ip -o route show proto 143 | wc -l"));
    test("objects deleted: all that leaned on them are back", async () => {
      const [, id] = /nhid (\d+)/.exec(run(`ip route get fibmatch ${hostOf(many)}`)) ?? [];
      const ofSome = await repair(`ip nexthop del id ${id}`);
      expect(ofSome).toBeLessThan(1);
      expect(count()).toBe(many + some + 2);
      const ofAll = await repair("ip nexthop flush proto 143"); // takes the kernel alone more than half a second (ADR 17)
      expect(ofAll / (many + some)).toBeLessThan((2 * ofSome) / some);
      await eventually(count, many + some + 2);
    });
  });
});
