import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { unshared } from "@margay/testing";
import { type ListRun, NOTHING, TestNode, UPSTREAM } from "./testing/node.ts";

interface Result {
  interfaces: { name: string; sandbox?: string }[];
  ips: { address: string; interface?: number; gateway?: string }[];
  routes?: { dst: string; gw?: string }[];
  dns: object;
}

/** Our plugin in the middle of others', all of them the real executables. */
unshared(import.meta.url, () => {
  let node: TestNode;
  beforeAll(() => {
    TestNode.install();
    node = new TestNode();
    node.sh("sysctl -qw net.ipv4.ip_forward=1");
  });
  afterAll(() => node.netlink.close());
  afterEach(() => node.clear());

  const listOf = (plugins: ListRun["list"]["plugins"], cniVersion = "1.0.0") => ({
    cniVersion,
    name: "net",
    plugins,
  });
  const resultOf = ({ stdout }: { stdout: string }) => JSON.parse(stdout) as Result;
  async function added(run: ListRun): Promise<Result> {
    const answer = await node.list("ADD", run);
    if (answer.code !== 0) throw new Error(answer.stdout);
    return resultOf(answer);
  }
  async function removed(run: ListRun, result: Result): Promise<void> {
    expect(await node.list("DEL", { ...run, result })).toMatchObject({ code: 0 });
    expect(await node.world()).toEqual(NOTHING);
  }

  const OURS = { type: "margay-cni", capabilities: { ips: true, mac: true, dns: true } };
  const PORTMAP = { type: "portmap", snat: true, capabilities: { portMappings: true } };
  const BANDWIDTH = { type: "bandwidth", capabilities: { bandwidth: true } };
  const TUNING = { type: "tuning", sysctl: { "net.ipv4.conf.all.log_martians": "1" } };
  const LOOPBACK = { type: "loopback" };
  const PORTS = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
  const RATES = {
    ingressRate: 8_000_000,
    ingressBurst: 800_000,
    egressRate: 8_000_000,
    egressBurst: 800_000,
  };

  test.each(["0.3.1", "0.4.0", "1.0.0"])(
    "portmap, bandwidth and tuning after ours (%s)",
    async (cniVersion) => {
      await node.start();
      const sandbox = node.sandbox("web");
      const capabilities = { portMappings: PORTS, bandwidth: RATES };
      // IPv4 only: portmap's CHECK looks for the IPv4 rule of a dual-stack pod in IPv6 (containernetworking-plugins 1.1.1).
      const ours = { ...OURS, ipam: { assign_ipv6: false } };
      const run = { list: listOf([ours, PORTMAP, BANDWIDTH, TUNING], cniVersion), sandbox, capabilities };
      // portmap 1.1.1 looks for IPv4 rules in IPv6: its CHECK never succeeds.
      const checked = listOf([OURS, BANDWIDTH, TUNING], cniVersion);
      const result = await added(run);
      const host = result.interfaces[0]!.name; // ours is the first
      expect(node.sh("iptables-save -t nat")).toMatch(
        /--dport 8080 -j DNAT --to-destination 10\.244\.0\.\d+:80/,
      );
      expect(node.sh(`tc qdisc show dev ${host}`)).toMatch(/tbf .* rate 8Mbit/);
      expect(node.sh("sysctl -n net.ipv4.conf.all.log_martians", "web")).toBe("1\n");
      if (cniVersion !== "0.3.1")
        expect(await node.list("CHECK", { ...run, list: checked, result })).toEqual({ code: 0, stdout: "" });
      await removed(run, result);
      expect(node.sh("iptables-save -t nat")).not.toMatch(/8080/);
    },
  );

  test("loopback and tuning before ours: what they made stays in the result, before ours", async () => {
    await node.start();
    const run = { list: listOf([LOOPBACK, TUNING, OURS, PORTMAP]), sandbox: node.sandbox("web") };
    const result = await added(run);
    expect(result.interfaces.map(({ name }) => name)).toEqual(["lo", expect.stringMatching(/^cali/), "eth0"]);
    expect(result.ips.map((ip) => [ip.address.split(/[.:]/)[0], ip.interface])).toEqual([
      ["127", 0],
      ["", 0],
      ["10", 2],
      ["fd00", 2],
    ]);
    expect(await node.list("CHECK", { ...run, result })).toMatchObject({ code: 0 });
    await removed(run, result);
  });

  test("portmap and bandwidth before ours, which is the second interface of the pod", async () => {
    await node.start();
    const sandbox = node.sandbox("web");
    const ptp = {
      type: "ptp",
      ipam: { type: "host-local", subnet: "10.8.0.0/24", dataDir: "/run/host-local" },
    };
    const first = {
      list: listOf([ptp, PORTMAP, BANDWIDTH]),
      sandbox,
      capabilities: { portMappings: PORTS, bandwidth: RATES },
    };
    const eth0 = await added(first);
    const run = { list: listOf([OURS]), sandbox, env: { CNI_IFNAME: "eth1" }, result: eth0 };
    const result = resultOf(await node.list("ADD", run));
    expect(result.interfaces.map(({ name }) => name).slice(-2)).toEqual([
      expect.stringMatching(/^cali/),
      "eth1",
    ]);
    expect(result.ips.map((ip) => ip.interface)).toEqual([1, 4, 4]);
    await removed(run, result);
    await node.list("DEL", { ...first, result: eth0 });
  });

  test("a plugin before ours that took the interface's name: refused, and its interface stays", async () => {
    await node.start();
    const sandbox = node.sandbox("web");
    const ptp = {
      type: "ptp",
      ipam: { type: "host-local", subnet: "10.8.0.0/24", dataDir: "/run/host-local" },
    };
    const answer = await node.list("ADD", { list: listOf([ptp, OURS]), sandbox });
    expect(resultOf(answer)).toMatchObject({ code: 7, msg: expect.stringContaining("eth0 already") });
    expect(node.sh("ip -o -4 address show eth0", "web")).toContain("10.8.0.");
    await node.list("DEL", { list: listOf([ptp]), sandbox });
  });

  test("what the runtime fills in: addresses, MAC, DNS", async () => {
    await node.start();
    const dns = { servers: ["10.96.0.10"], searches: ["shop.svc"], options: ["ndots:5"] };
    const capabilities = { ips: ["10.244.0.77/24"], mac: "02:00:00:00:00:77", dns };
    const run = { list: listOf([OURS]), sandbox: node.sandbox("web"), capabilities };
    const result = await added(run);
    expect(result.ips[0]!.address).toBe("10.244.0.77/32");
    expect(result.interfaces[1]).toMatchObject({ name: "eth0", mac: "02:00:00:00:00:77" });
    expect(result.dns).toEqual({ nameservers: ["10.96.0.10"], search: ["shop.svc"], options: ["ndots:5"] });
    await removed(run, result);
  });

  test("CNI_ARGS: IP and MAC", async () => {
    await node.start();
    const env = {
      CNI_ARGS:
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;IP=10.244.0.78;MAC=02:00:00:00:00:78",
    };
    const run = { list: listOf([OURS]), sandbox: node.sandbox("web"), env };
    const result = await added(run);
    expect([result.ips[0]!.address, result.interfaces[1]]).toMatchObject([
      "10.244.0.78/32",
      { mac: "02:00:00:00:00:78" },
    ]);
    await removed(run, result);
  });

  describe("upstream host-local for our addresses", () => {
    const hostLocal = (ipam: object) => ({
      ...OURS,
      ipam: { type: "host-local", dataDir: "/run/host-local", ...ipam },
    });

    test.each<[why: string, ipam: object, expected: string[]]>([
      ["its own subnet", { subnet: "10.7.0.0/24" }, ["10.7.0.2/32"]],
      ["usePodCidr", { subnet: "usePodCidr" }, ["10.9.0.2/32"]],
      [
        "usePodCidr, both families",
        { ranges: [[{ subnet: "usePodCidr" }], [{ subnet: "usePodCidrIPv6" }]] },
        ["10.9.0.3/32", "fd00:9::2/128"],
      ],
    ])("%s", async (_why, ipam, expected) => {
      await node.start();
      const run = { list: listOf([hostLocal(ipam)]), sandbox: node.sandbox("web") };
      const result = await added(run);
      expect(result.ips.map(({ address }) => address)).toEqual(expected);
      expect(await node.list("CHECK", { ...run, result })).toMatchObject({ code: 0 });
      await removed(run, result);
      expect(node.sh("find /run/host-local -name '10.*' -o -name 'fd*'")).toBe("");
    });

    test("the agent in a container, where the runtime's folder has another name: it has a CNI_PATH of its own", async () => {
      await node.start();
      const run = {
        ...{ list: listOf([hostLocal({ subnet: "10.7.0.0/24" })]), sandbox: node.sandbox("web") },
        env: { CNI_PATH: "/opt/not-here" },
      };
      expect(resultOf(await node.list("ADD", run))).toMatchObject({ code: 7 });
      const before = process.env.CNI_PATH;
      process.env.CNI_PATH = UPSTREAM;
      try {
        const result = await added(run);
        expect(result.ips.map(({ address }) => address)).toEqual(["10.7.0.2/32"]);
        await removed(run, result);
      } finally {
        process.env.CNI_PATH = before ?? "";
      }
    });

    test("a failure after it gave an address gives it back", async () => {
      await node.start({ deps: { ready: async () => Promise.reject(new Error("no rules")) } });
      const run = { list: listOf([hostLocal({ subnet: "10.7.0.0/24" })]), sandbox: node.sandbox("web") };
      expect(resultOf(await node.list("ADD", run))).toMatchObject({ code: 999 });
      expect(await node.world()).toEqual(NOTHING);
      expect(node.sh("find /run/host-local -name '10.*'")).toBe("");
    });

    test.each<[why: string, ipam: object, code: number, msg: RegExp]>([
      ["its own failure, in its own words", { subnet: "10.7.0.0/33" }, 100, /^host-local: .*10\.7\.0\.0\/33/],
      ["a plugin that is not there", { type: "none" }, 7, /ipam\.type none: no such plugin in CNI_PATH/],
      ["a path instead of a name", { type: "../x" }, 7, /a name, not a path/],
    ])("%s", async (_why, ipam, code, msg) => {
      await node.start();
      const run = { list: listOf([hostLocal(ipam)]), sandbox: node.sandbox("web") };
      expect(resultOf(await node.list("ADD", run))).toMatchObject({ code, msg: expect.stringMatching(msg) });
      expect(await node.world()).toEqual(NOTHING);
    });
  });

  describe("margay-ipam for others' interfaces", () => {
    const ipam = { type: "margay-ipam", assign_ipv6: false, routes: [{ dst: "0.0.0.0/0" }] };
    beforeAll(
      () =>
        void node.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"),
    );

    test.each<[type: string, more: object, gateway: boolean]>([
      ["bridge", { bridge: "br0", isGateway: true }, true],
      ["ptp", {}, true],
      ["macvlan", { master: "up0", mode: "bridge" }, false],
    ])("%s", async (type, more, hasGateway) => {
      node.config = { ...node.config, hostReserved: { first: 2, last: 1 } };
      await node.start();
      const run = { list: listOf([{ type, ...more, ipam }]), sandbox: node.sandbox("web") };
      const result = await added(run);
      const { address, gateway } = result.ips[0]!;
      expect([address, gateway]).toEqual([
        expect.stringMatching(/^10\.244\.0\.\d+\/28$/),
        expect.stringMatching(/^10\.244\.0\.\d+$/),
      ]);
      expect(node.sh("ip route show default", "web")).toContain(`default via ${gateway} dev eth0`);
      if (hasGateway) node.sh(`ping -c 1 -W 1 ${gateway}`, "web");
      expect(await node.list("CHECK", { ...run, result })).toMatchObject({ code: 0 });
      await removed(run, result);
    });

    test("blocks whose ends are not the host's: refused with what to set, and nothing is held", async () => {
      node.config = { ...node.config, hostReserved: { first: 0, last: 0 } };
      await node.start();
      const run = { list: listOf([{ type: "bridge", ipam }]), sandbox: node.sandbox("web") };
      expect(resultOf(await node.list("ADD", run))).toMatchObject({
        code: 7,
        details: expect.stringContaining("hostReserved: {first: 2, last: 1}"),
      });
      expect(await node.world()).toEqual(NOTHING);
    });
  });
});
