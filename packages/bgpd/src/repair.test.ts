/** A route of ours that somebody deletes or changes is back within a second: any of 100,000, both families, one hop of several. */
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

const many = 100_000;
const some = 10_000;
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
  /** Whatever it leans on. Asked for one address: a listing would take longer than the repair. */
  const shown = (host: string) =>
    run(`ip route get fibmatch ${host} 2>&1 | tr -s ' \\n' ' '`).replace(/nhid \d+ /, "");
  /** Seconds until the route of a host is as it was. */
  const repair = async (host: string, command: string) => {
    const before = shown(host);
    expect(before).toMatch("proto 143");
    run(command);
    expect(shown(host)).not.toBe(before);
    const began = performance.now();
    await eventually(() => shown(host), before, 5);
    return (performance.now() - began) / 1000;
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
      expect(await repair(host, command)).toBeLessThan(1);
    });

    /** The route that is written last. */
    const last = formatAddress({ family: 4, bits: nth(many + some - 1).bits });

    test(`the object that ${some} lean on deleted: all are back`, async () => {
      const [, id] = /nhid (\d+)/.exec(run(`ip route get fibmatch ${last}`)) ?? [];
      expect(await repair(last, `ip nexthop del id ${id}`)).toBeLessThan(1);
      expect(run("ip -o route show proto 143 | wc -l").trim()).toBe(`${many + some + 2}`);
    });

    test("all objects, `ip nexthop flush proto 143`: the first is back within a second, then all", async () => {
      expect(await repair("20.0.0.1", "ip nexthop flush proto 143")).toBeLessThan(1);
      await eventually(() => shown(last), expect.stringMatching("proto 143"));
      expect(run("ip -o route show proto 143 | wc -l").trim()).toBe(`${many + some + 2}`);
    });
  });
});
