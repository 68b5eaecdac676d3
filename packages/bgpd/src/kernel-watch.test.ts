/** What the kernel says of links, routes and refusals, and what follows of it: no more than must. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { formatAddress, parseAddress, parsePrefix } from "@margay/net";
import type { Route } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { Kernel } from "./kernel.ts";
import { bgpProtocol } from "./kernel-routes.ts";
import { eventually, run } from "./testing/bird.ts";

const [near, far] = ["172.20.0.2", "10.50.0.1"].map(parseAddress) as [
  ReturnType<typeof parseAddress>,
  ReturnType<typeof parseAddress>,
];
const route = (key: string): Route => ({
  ...{ dst: parsePrefix(key), protocol: bgpProtocol, type: "unicast", metric: 1024 },
  nexthops: [{ via: near, dev: "d0" }],
});

unshared(import.meta.url, () => {
  const warned: string[] = [];
  let fabrics = 0;
  let kernel: Kernel;
  const open = async (table?: number) => {
    const made = await Kernel.open({
      log: { info() {}, debug() {}, warn: (_fields, words) => void warned.push(words) },
      onFabric: () => void fabrics++,
      nextHops: () => [near, far],
      ...(table === undefined ? {} : { table }),
    });
    made.start();
    return made;
  };
  const passes = (more: number) => {
    const { passes } = kernel.counts;
    return eventually(() => kernel.counts.passes >= passes + more, true);
  };
  /** What was done so far was heard, and followed. */
  const heard = async () => {
    const { repairs } = kernel.counts;
    run("ip route add 10.61.0.0/24 dev d0 proto 143");
    await eventually(() => kernel.counts.repairs > repairs && kernel.isSettled, true);
  };
  const ways = () => (kernel.hopsTo(far) ?? []).map(({ via }) => via && formatAddress(via));

  beforeAll(async () => {
    run(`ip link set lo up; ip link add d0 type veth peer name d1
      ip addr add 172.20.0.1/24 dev d0; ip link set d0 up; ip link set d1 up
      ip route add 10.8.0.0/24 via 172.20.0.2 proto 143; ip route add 10.8.1.0/24 via 172.20.0.2 proto 143 table 77`);
    kernel = await open();
  });
  afterEach(() => {
    warned.length = 0;
  });
  afterAll(() => kernel.stop());

  describe("the kernel's routes", () => {
    test("of our protocol in another table are not ours: they outlive what an earlier process left in this one", async () => {
      kernel.release();
      await eventually(
        () => run("ip route show table all proto 143").trim().split("\n"),
        ["10.8.1.0/24 via 172.20.0.2 dev d0 table 77"],
      );
    });

    test("in a table of choice: written there, and next hops looked up there", async () => {
      run("ip route add 10.50.0.0/24 via 172.20.0.7 table 78");
      const other = await open(78);
      other.want("10.8.2.0/24", route("10.8.2.0/24"));
      await eventually(
        () => run("ip route show table 78 proto 143").trim(),
        "10.8.2.0/24 via 172.20.0.2 dev d0 metric 1024",
      );
      expect(other.hopsTo(far)).toMatchObject([{ via: parseAddress("172.20.0.7") }]);
      expect(run("ip route show proto 143")).toBe("");
      run("ip route flush table 78 proto 143");
      await eventually(
        () => run("ip route show table 78 proto 143").trim(),
        "10.8.2.0/24 via 172.20.0.2 dev d0 metric 1024",
      );
      await other.stop();
    });

    test("a route whose place is taken is tried each second, and said once", async () => {
      run("ip route add 10.7.0.0/24 dev d0 proto static metric 1024");
      kernel.want("10.7.0.0/24", route("10.7.0.0/24"));
      await eventually(() => warned.length, 1);
      await passes(2);
      expect(warned).toHaveLength(1);
      expect(kernel.refusal("10.7.0.0/24")).toMatch("another protocol's route is in its place");
      run("ip route del 10.7.0.0/24 proto static");
      await eventually(() => kernel.refusal("10.7.0.0/24"), undefined);
      expect(run("ip route show 10.7.0.0/24")).toMatch("proto 143");
    });

    test("a foreign route that replaced ours is left, and said; ours comes back when it goes", async () => {
      run("ip route replace 10.7.0.0/24 dev d0 proto static metric 1024");
      await eventually(() => kernel.refusal("10.7.0.0/24"), expect.stringMatching("another protocol's"));
      await passes(2);
      expect(run("ip route show 10.7.0.0/24").trim()).toBe(
        "10.7.0.0/24 dev d0 proto static scope link metric 1024",
      );
      run("ip route del 10.7.0.0/24 proto static");
      await eventually(() => run("ip route show 10.7.0.0/24"), expect.stringMatching("proto 143"));
      kernel.want("10.7.0.0/24", undefined);
      await eventually(() => run("ip route show 10.7.0.0/24"), "");
    });
  });

  describe("the way to a next hop", () => {
    test("its cost: 0 where it is connected, else one more than the route's metric, the lowest of several", async () => {
      run(
        "ip route add 10.50.0.0/24 via 172.20.0.3 metric 50; ip route add 10.50.0.0/24 via 172.20.0.4 metric 70",
      );
      await eventually(() => kernel.cost(far), 51);
      expect([kernel.cost(near), ways()]).toEqual([0, ["172.20.0.3"]]);
      run("ip route del 10.50.0.0/24 metric 50");
      await eventually(() => kernel.cost(far), 71);
      run("ip route del 10.50.0.0/24");
      await eventually(() => kernel.cost(far), undefined);
    });

    test("is followed: there, by another gateway, gone, back", async () => {
      run("ip route add 10.50.0.0/24 via 172.20.0.3");
      await eventually(ways, ["172.20.0.3"]);
      run("ip route replace 10.50.0.0/24 via 172.20.0.4");
      await eventually(ways, ["172.20.0.4"]);
      run("ip route del 10.50.0.0/24");
      await eventually(ways, []);
      run("ip route add 10.50.0.0/24 via 172.20.0.3");
      await eventually(ways, ["172.20.0.3"]);
    });

    test("another MTU, or a listener, on its link: nothing is read or decided again", async () => {
      run("ip link set d0 alias once"); // what is known of the link from now on
      await heard();
      run("ip route add 10.63.0.0/24 via 172.20.0.3"); // known only once the table is read again
      const before = fabrics;
      run("ip link set d0 promisc on; ip link set d0 mtu 1400; ip link set d0 promisc off");
      await heard();
      expect([kernel.cost(parseAddress("10.63.0.1")), fabrics]).toEqual([undefined, before]);
      run("ip route add 10.50.0.0/25 via 172.20.0.9");
      await eventually(ways, ["172.20.0.9"]);
      run("ip route del 10.50.0.0/25");
      await eventually(ways, ["172.20.0.3"]);
    });

    test.each<[asked: string, route: string, ask: () => unknown, answer: unknown]>([
      ["its cost", "10.60.0.0/24", () => kernel.cost(parseAddress("10.60.0.1")), 8],
      [
        "its interface, as a filter does",
        "10.62.0.0/24",
        () => kernel.hopsTo(parseAddress("10.62.0.1"))?.[0]?.dev,
        "d0",
      ],
    ])("that was asked for %s only after its route had come", async (_asked, dst, ask, answer) => {
      run(`ip route add ${dst} via 172.20.0.3 metric 7`);
      await heard();
      expect(ask()).toBeUndefined();
      await eventually(ask, answer);
    });

    test("a route that changes no way: read again, and nothing is decided", async () => {
      const before = fabrics;
      run("ip route add 10.50.0.0/16 via 172.20.0.9");
      await passes(1);
      expect(fabrics).toBe(before);
    });

    test("a link down and up again: our routes are back", async () => {
      kernel.want("10.7.1.0/24", route("10.7.1.0/24"));
      await eventually(() => run("ip route show 10.7.1.0/24"), expect.stringMatching("proto 143"));
      const before = fabrics;
      run("ip link set d0 down");
      await eventually(() => fabrics > before && kernel.cost(near) === undefined, true);
      run("ip link set d0 up");
      await eventually(() => run("ip route show 10.7.1.0/24"), expect.stringMatching("proto 143"));
    });
  });
});
