import { createHash } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { resources, StoreError } from "@margay/datastore";
import { NetlinkError } from "@margay/netlink";
import { unshared } from "@margay/testing";
import type { CniDeps } from "./deps.ts";
import { BIN, type Called, NOTHING, TestNode } from "./testing/node.ts";

interface Result {
  cniVersion: string;
  interfaces: { name: string; mac: string; sandbox?: string }[];
  ips: { address: string }[];
}

unshared(import.meta.url, () => {
  let node: TestNode;
  const addressesOf = (stdout: string) => (JSON.parse(stdout) as Result).ips.map(({ address }) => address);

  beforeAll(() => {
    TestNode.install();
    node = new TestNode();
  });
  afterAll(() => node.netlink.close());
  afterEach(() => node.clear());

  test("a pod comes and goes", async () => {
    await node.start();
    const { code, stdout } = await node.cni("ADD", { sandbox: node.sandbox("web") });
    const result = JSON.parse(stdout);
    const host = `cali${createHash("sha1").update("shop.web").digest("hex").slice(0, 11)}`;
    expect([code, result.cniVersion, result.interfaces[0].name]).toEqual([0, "1.1.0", host]);
    const [{ address, addr_info }] = JSON.parse(node.sh("ip -j address show eth0", "web"));
    expect(result.interfaces[1]).toEqual({
      name: "eth0",
      mac: address,
      mtu: 1450,
      sandbox: "/run/netns/web",
    });
    const held = addr_info.filter(({ scope }: { scope: string }) => scope === "global");
    expect(result.ips.map((ip: { address: string }) => ip.address)).toEqual(
      held.map(({ local, prefixlen }: { local: string; prefixlen: number }) => `${local}/${prefixlen}`),
    );
    expect(node.sh(`ip link show ${host}`)).toMatch(/alias margay:net web eth0$/m);
    const blocks = (await node.store.list("/margay/v1/ipamblocks/")).entries.map(({ value }) => value);
    expect(blocks[0]).toContain(`"netnsInode":"${node.sh("stat -Lc %i /run/netns/web").trim()}"`);
    expect(await node.cni("DEL", { sandbox: "web" })).toEqual({ code: 0, stdout: "" });
    expect(await node.world()).toEqual(NOTHING);
  });

  test("thirty at once, added and removed", async () => {
    await node.start();
    const calls = Array.from({ length: 30 }, (_, i) => ({ sandbox: node.sandbox(`p${i}`) }));
    const answers = await Promise.all(calls.map((call) => node.cni("ADD", call)));
    const given = answers.flatMap(({ stdout }) => addressesOf(stdout));
    expect([new Set(given).size, (await node.world()).links]).toEqual([60, 30]);
    const removed = await Promise.all(calls.map((call) => node.cni("DEL", call)));
    expect(removed.every(({ code }) => code === 0)).toBe(true);
    expect(await node.world()).toEqual(NOTHING);
  });

  test.each(
    [0, 1, 2].flatMap((write) => [
      { write, when: "before" as const },
      { write, when: "after" as const },
    ]),
  )(
    "the store fails $when write $write of a first ADD: after the runtime's DEL nothing is left",
    async ({ write, when }) => {
      await node.start();
      node.store.failNext({ afterWrites: write, when });
      const { code, stdout } = await node.cni("ADD", { sandbox: node.sandbox("web") });
      if (code !== 0) expect(JSON.parse(stdout)).toMatchObject({ code: 11 });
      expect(await node.cni("DEL", { sandbox: "web" })).toEqual({ code: 0, stdout: "" });
      expect(await node.world()).toEqual(NOTHING);
    },
  );

  describe("an ADD that fails leaves nothing, without any DEL", () => {
    const boom = () => Promise.reject(new StoreError("unavailable", "injected"));
    /** Everything that ADD calls, made to fail before it does anything, or after it did all. */
    const failing = (step: string, when: string): Partial<CniDeps> => {
      const deps = node.deps();
      const fail =
        <A extends unknown[], T>(act: (...args: A) => Promise<T>) =>
        async (...args: A): Promise<T> => {
          if (when === "after") await act(...args);
          return boom();
        };
      switch (step) {
        case "assign":
          return {
            ipam: {
              assignWith: fail((request, along) => deps.ipam.assignWith(request, along)),
              release: (of) => deps.ipam.release(of),
            },
          };
        case "describe":
          return { describe: fail(async (invocation) => invocation) };
        case "wire":
          return { wire: fail(deps.wire) };
        case "expect":
          return {
            expect: (_key, value) => {
              if (value !== undefined) throw new StoreError("unavailable", "injected");
            },
          };
        case "endpoint":
          return { endpoints: { ...deps.endpoints, create: fail(deps.endpoints.create) } };
        default:
          return { ready: fail(deps.ready) };
      }
    };

    /** In the order of `add`. Of a block the addresses and the endpoint, expected before, are one write. */
    const STEPS = {
      "a new block": ["describe", "expect", "assign", "wire", "ready"],
      "an own block": ["describe", "expect", "assign", "wire", "ready"],
      "no block": ["describe", "endpoint", "wire", "ready"],
    };
    const BROUGHT = { "cni.projectcalico.org/ipAddrsNoIpam": '["192.0.2.9"]' };
    test.each(
      Object.entries(STEPS).flatMap(([block, steps]) =>
        steps.flatMap((step) => ["before", "after"].map((when) => [block, step, when] as const)),
      ),
    )("with an address of %s: %s fails %s it acted", async (block, step, when) => {
      await node.start();
      node.sandbox("first");
      if (block === "an own block")
        for (const command of ["ADD", "DEL"]) await node.cni(command, { sandbox: "first" });
      await node.stop();
      await node.start({ keep: true, deps: failing(step, when) });
      const annotations = block === "no block" ? BROUGHT : {};
      const conf = { feature_control: { ip_addrs_no_ipam: true }, args: { cni: { annotations } } };
      const { stdout } = await node.cni("ADD", { sandbox: node.sandbox("web"), conf });
      expect(JSON.parse(stdout)).toMatchObject({ code: 11, msg: expect.stringContaining("injected") });
      expect(JSON.parse(stdout).details ?? "").not.toContain("Left behind");
      expect(await node.world()).toEqual(NOTHING);
      expect(node.sh("ip -br link | grep -v ^lo || true", "web")).toBe("");
    });

    test.each<[what: string, sabotage: string, left: RegExp]>([
      ["making the veth: the name is a bridge's", "ip link add eth0 type bridge", /^eth0/],
      [
        "the default route: there is one",
        "ip link add up0 type veth peer name up1 && ip link set up0 up && ip address add 10.1.0.1/24 dev up0 && ip link set up1 up && ip route add default via 10.1.0.2",
        /^up[01]@/,
      ],
    ])("the kernel refuses %s", async (_what, sabotage, left) => {
      await node.start();
      node.sandbox("web");
      node.sh(sabotage, "web");
      const { code, stdout } = await node.cni("ADD", { sandbox: "web" });
      expect([code, JSON.parse(stdout)]).toMatchObject([1, { code: 5 }]);
      expect(await node.world()).toEqual(NOTHING);
      expect(node.sh("ip -br link | grep -v ^lo || true", "web")).toMatch(left);
    });

    type Sockets = Pick<TestNode["netlink"]["requests"], "transact">;

    /** Of all requests to the kernel the one of that number, from now on, fails: it is not sent, or done all the same. */
    function refuseRequest(at: number, when: string): { end(): number } {
      const sockets = Object.getPrototypeOf(node.netlink.requests) as Sockets; // its class: every socket's
      const { transact } = sockets;
      let count = 0;
      sockets.transact = async function (this: Sockets, requests, onReply) {
        const index = at - count;
        count += requests.length;
        const refused = requests[index];
        if (!refused) return transact.call(this, requests, onReply);
        const sent = when === "before" ? requests.toSpliced(index, 1) : requests;
        const others = await transact.call(this, sent, onReply);
        return [{ index, error: new NetlinkError("ENOBUFS", refused.words()) }, ...others];
      };
      return {
        end() {
          sockets.transact = transact;
          return count;
        },
      };
    }

    test.each(["before", "after"])("each of its requests to the kernel fails %s it is done", async (when) => {
      await node.start();
      const sandbox = node.sandbox("web");
      const counting = refuseRequest(-1, when);
      expect(await node.cni("ADD", { sandbox })).toMatchObject({ code: 0 });
      const requests = counting.end();
      expect(requests).toBeGreaterThan(10); // a veth and its two ends
      await node.cni("DEL", { sandbox });
      const told: string[] = [];
      for (let at = 0; at < requests; at++) {
        const failing = refuseRequest(at, when);
        const { code, stdout } = await node.cni("ADD", { sandbox });
        failing.end();
        const { msg } = JSON.parse(stdout) as { msg?: string };
        if (msg !== undefined) told.push(msg);
        if (code === 0) await node.cni("DEL", { sandbox }); // its failure is none of ADD's
        expect([at, await node.world()]).toEqual([at, NOTHING]);
        expect([at, node.sh("ip -br link | grep -v ^lo || true", "web")]).toEqual([at, ""]);
      }
      expect(told.length).toBeGreaterThan(requests - 3); // all but readings whose answer nobody needs
    });
  });

  test.each<[what: string, cni: { pod?: object; namespace?: object }, ips: RegExp[], held: number]>([
    [
      "these very addresses",
      { pod: { ipAddrs: '["10.244.0.77", "fd00:10:244::77"]' } },
      [/^10\.244\.0\.77\/32$/, /^fd00:10:244::77\/128$/],
      2,
    ],
    ["addresses past IPAM", { pod: { ipAddrsNoIpam: '["192.0.2.9"]' } }, [/^192\.0\.2\.9\/32$/], 0],
    ["a pool and one family", { pod: { ipv4pools: '["asked"]', ipFamilies: '["IPv4"]' } }, [/^10\.245\./], 1],
    ["a pool of IPv6", { pod: { ipv6pools: '["asked6"]' } }, [/^10\.244\./, /^fd00:10:245:/], 2],
    ["the namespace's pool", { namespace: { ipv4pools: '["asked"]' } }, [/^10\.245\./, /^fd00/], 2],
    [
      "the pod's pool before the namespace's",
      { pod: { ipv4pools: '["four"]' }, namespace: { ipv4pools: '["asked"]' } },
      [/^10\.244\./, /^fd00/],
      2,
    ],
  ])("annotations ask for %s: ADD, CHECK and DEL", async (_what, { pod = {}, namespace = {} }, ips, held) => {
    await node.start();
    const full = (of: object) =>
      Object.fromEntries(Object.entries(of).map(([name, value]) => [`cni.projectcalico.org/${name}`, value]));
    const conf = {
      feature_control: { ip_addrs_no_ipam: true },
      args: { cni: { annotations: full(pod), namespaceAnnotations: full(namespace) } },
    };
    const { stdout } = await node.cni("ADD", { sandbox: node.sandbox("web"), conf });
    expect(addressesOf(stdout)).toEqual(ips.map((one) => expect.stringMatching(one)));
    expect((await node.world()).addresses).toBe(held);
    for (const address of addressesOf(stdout))
      expect(node.sh("ip address show eth0", "web")).toContain(address);
    const prevResult = JSON.parse(stdout) as object;
    for (const command of ["CHECK", "DEL"])
      expect(await node.cni(command, { sandbox: "web", conf: { ...conf, prevResult } })).toEqual({
        ...{ code: 0, stdout: "" },
      });
    expect(await node.world()).toEqual(NOTHING);
  });

  test("floating addresses stand for the pod's own of their family; one of a family that it has not is refused", async () => {
    await node.start();
    const conf = (annotations: object) => ({
      feature_control: { floating_ips: true },
      args: { cni: { annotations } },
    });
    const floatingIPs = { "cni.projectcalico.org/floatingIPs": '["192.0.2.9", "2001:db8::9"]' };
    const lone = { ...floatingIPs, "cni.projectcalico.org/ipFamilies": '["IPv4"]' };
    const refused = await node.cni("ADD", { sandbox: node.sandbox("web"), conf: conf(lone) });
    expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([
      1,
      { code: 7, msg: "floating address 2001:db8::9: the pod has no IPv6 address" },
    ]);
    expect(await node.world()).toEqual(NOTHING);
    const { stdout } = await node.cni("ADD", { sandbox: "web", conf: conf(floatingIPs) });
    const [four, six] = addressesOf(stdout).map((text) => text.split("/")[0]);
    const endpoint = await resources(node.store, "WorkloadEndpoint").get("n1-k8s-web-eth0", "shop");
    expect(endpoint?.spec.ipNATs).toEqual([
      { internalIP: four, externalIP: "192.0.2.9" },
      { internalIP: six, externalIP: "2001:db8::9" },
    ]);
    await node.cni("DEL", { sandbox: "web" });
    expect(await node.world()).toEqual(NOTHING);
  });

  const SWITCHED_OFF = { "cni.projectcalico.org/ipAddrsNoIpam": '["192.0.2.9"]' };
  test.each<[why: string, code: number, call: Partial<Called>]>([
    ["a version that is none", 1, { conf: { cniVersion: "9.0.0" } }],
    ["an annotation that is switched off", 2, { conf: { args: { cni: { annotations: SWITCHED_OFF } } } }],
    ["no interface's name", 4, { env: { CNI_IFNAME: "" } }],
    ["standard input that is no JSON", 6, { text: "{" }],
    ["a network without a name", 7, { conf: { name: "" } }],
  ])("%s: ADD is CNI error %i, and nothing is made", async (_why, code, call) => {
    await node.start();
    const answer = await node.cni("ADD", { sandbox: node.sandbox("web"), ...call });
    expect([answer.code, JSON.parse(answer.stdout)]).toMatchObject([1, { code }]);
    expect(await node.world()).toEqual(NOTHING);
  });

  test("a namespace that is gone: ADD says so and leaves nothing, DEL succeeds", async () => {
    await node.start();
    const { code, stdout } = await node.cni("ADD", { sandbox: "gone" });
    expect([code, JSON.parse(stdout)]).toMatchObject([
      1,
      { code: 3, msg: "network namespace /run/netns/gone does not exist" },
    ]);
    expect(await node.cni("DEL", { sandbox: "gone" })).toEqual({ code: 0, stdout: "" });
    expect(await node.world()).toEqual(NOTHING);
  });

  test("executed as margay-ipam", async () => {
    await node.start();
    const call = { sandbox: node.sandbox("other"), plugin: "margay-ipam" };
    const { stdout } = await node.cni("ADD", call);
    expect(addressesOf(stdout)).toHaveLength(2);
    expect(await node.world()).toEqual({ links: 0, addresses: 2, endpoints: [] });
    await node.cni("DEL", call);
    expect(await node.world()).toEqual(NOTHING);
  });

  test("as margay-ipam, the datastore's answer lost: to be tried again, and the repeat has the same addresses", async () => {
    await node.start();
    const call = { sandbox: node.sandbox("other"), plugin: "margay-ipam" };
    node.store.failNext({ afterWrites: 1, when: "after" }); // the block with the address in it
    expect(JSON.parse((await node.cni("ADD", call)).stdout)).toMatchObject({ code: 11 });
    const first = addressesOf((await node.cni("ADD", call)).stdout);
    expect(first).toHaveLength(2);
    expect((await node.world()).addresses).toBe(2);
    await node.cni("DEL", call);
    expect(await node.world()).toEqual(NOTHING);
  });

  describe("CHECK", () => {
    async function added() {
      await node.start();
      const { stdout } = await node.cni("ADD", { sandbox: node.sandbox("web") });
      const prevResult = JSON.parse(stdout) as Result;
      const check = () => node.cni("CHECK", { sandbox: "web", conf: { prevResult } });
      const host = prevResult.interfaces[0]!.name; // ADD answers two, and an address of each family
      const [four, six] = addressesOf(stdout).map((text) => text.split("/")[0]!);
      return { check, names: { HOST: host, FOUR: four!, SIX: six! } };
    }
    const fill = (text: string, names: Record<string, string>) =>
      text.replace(/HOST|FOUR|SIX/g, (name) => names[name]!); // those three

    test("all is there: success that says nothing", async () => {
      const { check } = await added();
      expect(await check()).toEqual({ code: 0, stdout: "" });
    });

    test("the kernel forgot the gateways' neighbours, as it does when a plugin after ours sets the MAC: CHECK forgives that", async () => {
      const { check } = await added();
      node.sh("ip link set eth0 address $(ip -br link show eth0 | awk '{print $3}')", "web");
      expect(node.sh("ip neigh show nud permanent", "web")).toBe("");
      expect(await check()).toEqual({ code: 0, stdout: "" });
    });

    /** The endpoint as somebody else has written it. */
    const rewritten = async (spec: object) => {
      const { endpoints } = node.deps();
      const found = await endpoints.get("n1-k8s-web-eth0", "shop");
      const [four] = found!.spec.ipNetworks; // just added
      const ipNetworks = "ipNetworks" in spec ? [four!] : found!.spec.ipNetworks;
      await endpoints.apply({ ...found!, spec: { ...found!.spec, ...spec, ipNetworks } });
    };

    test.each<[what: string, breakage: [string, string?] | (() => unknown), details: string]>([
      [
        "an address, and what the kernel has taken with it",
        ["ip address del FOUR/32 dev eth0", "web"],
        "address FOUR dev eth0 in the pod: gone; route 169.254.1.1/32 dev eth0 in the pod: gone; route 0.0.0.0/0 via 169.254.1.1 dev eth0 in the pod: gone",
      ],
      [
        "the default route",
        ["ip route del default", "web"],
        "route 0.0.0.0/0 via 169.254.1.1 dev eth0 in the pod: gone",
      ],
      [
        "the IPv6 address",
        ["ip address del SIX/128 dev eth0", "web"],
        "address SIX dev eth0 in the pod: gone",
      ],
      [
        "the IPv6 default route",
        ["ip -6 route del default", "web"],
        "route ::/0 via fe80::ecee:eeff:feee:eeee dev eth0 in the pod: gone",
      ],
      [
        "the route to the gateway: the default route leads there still",
        ["ip route del 169.254.1.1", "web"],
        "route 169.254.1.1/32 dev eth0 in the pod: gone",
      ],
      [
        "the IPv4 gateway's neighbour",
        ["ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:09 dev eth0", "web"],
        "neighbour 169.254.1.1 dev eth0 in the pod: not ee:ee:ee:ee:ee:ee",
      ],
      [
        "the pod's IPv4 neighbour on the node",
        ["ip neigh del FOUR dev HOST"],
        "neighbour FOUR dev HOST on the node: gone",
      ],
      [
        "the interface's owner",
        ["ip link set HOST alias 'margay:net other eth0'"],
        "link HOST on the node: another attachment's",
      ],
      [
        "the pod's end, under that name",
        ["ip link set eth0 down && ip link set eth0 name eth7", "web"],
        "link eth0 in the pod: gone",
      ],
      [
        "the namespace",
        ["umount /run/netns/web && rm /run/netns/web; while ip link show HOST; do sleep 0.05; done"], // the kernel takes its time
        "link HOST on the node: gone; network namespace /run/netns/web: gone",
      ],
      [
        "an address of the endpoint",
        () => rewritten({ ipNetworks: ["FOUR/32"] }),
        "endpoint shop/n1-k8s-web-eth0: without SIX/128",
      ],
      [
        "the endpoint's container",
        () => rewritten({ containerID: "other" }),
        "endpoint shop/n1-k8s-web-eth0: container other has it",
      ],
      [
        "the IPv6 gateway's neighbour, which nobody answers for",
        ["ip neigh replace fe80::ecee:eeff:feee:eeee dev eth0 nud failed", "web"],
        "neighbour fe80::ecee:eeff:feee:eeee dev eth0 in the pod: not ee:ee:ee:ee:ee:ee",
      ],
      [
        "the pod's neighbour on the node",
        ["ip neigh del SIX dev HOST"],
        "neighbour SIX dev HOST on the node: gone",
      ],
      [
        "the host end is down",
        ["ip link set HOST down"],
        "link HOST on the node: down; neighbour FOUR dev HOST on the node: gone; neighbour SIX dev HOST on the node: gone",
      ],
      [
        "the host end's MAC",
        ["ip link set HOST address 02:00:00:00:00:09"],
        "link HOST on the node: MAC is 02:00:00:00:00:09, not ee:ee:ee:ee:ee:ee; neighbour FOUR dev HOST on the node: gone; neighbour SIX dev HOST on the node: gone",
      ],
      ["the veth", ["ip link del HOST"], "link HOST on the node: gone; link eth0 in the pod: gone"],
      [
        "the endpoint",
        () => node.store.delete("/margay/v1/workloadendpoints/shop/n1-k8s-web-eth0"),
        "endpoint shop/n1-k8s-web-eth0: gone",
      ],
      [
        "the allocation",
        () => node.deps().ipam.release({ handle: "net.web" }),
        "address FOUR: IPAM does not hold it for net.web; address SIX: IPAM does not hold it for net.web",
      ],
    ])("%s is missing: CNI error 110 that names it", async (_what, breakage, details) => {
      const { names, check } = await added();
      if (typeof breakage === "function") await breakage();
      else node.sh(fill(breakage[0], names), breakage[1]);
      const { code, stdout } = await check();
      const error = JSON.parse(stdout) as { code: number; msg: string; details: string };
      expect([code, error.code]).toEqual([1, 110]);
      expect(error.details).toBe(fill(details, names)); // that, and nothing else
    });

    test("what the agent misses in the kernel, routes and rules, is named too", async () => {
      const { check } = await added();
      await node.stop();
      const words = ["route 10.244.0.1/32 dev cali1: gone", "chain margay-tw-cali1: gone"];
      await node.start({ keep: true, deps: { missing: async () => words } });
      expect(JSON.parse((await check()).stdout)).toMatchObject({
        code: 110,
        msg: `2 things are not as ADD left them: ${words[0]}`,
        details: words.join("; "),
      });
    });

    test("without prevResult: an invalid configuration", async () => {
      await added();
      const { stdout } = await node.cni("CHECK", { sandbox: "web" });
      expect(JSON.parse(stdout)).toMatchObject({ code: 7, msg: expect.stringContaining("prevResult") });
    });
  });

  describe("GC", () => {
    const gc = (valid: string[] | undefined, conf: object = {}, plugin = "margay-cni") =>
      node.cni("GC", {
        ...{ sandbox: "", plugin },
        env: { CNI_CONTAINERID: "", CNI_NETNS: "", CNI_IFNAME: "" },
        conf: {
          ...(valid && {
            "cni.dev/valid-attachments": valid.map((containerID) => ({ containerID, ifname: "eth0" })),
          }),
          ...conf,
        },
      });
    const containers = async () => {
      await node.observe();
      return [...new Set([...node.deps().held()].map(({ containerId }) => containerId))].sort();
    };

    test("removes exactly what the list does not name", async () => {
      await node.start();
      for (const name of ["a", "b", "c"]) await node.cni("ADD", { sandbox: node.sandbox(name) });
      await node.cni("ADD", { sandbox: node.sandbox("other"), conf: { name: "net2" } });
      await node.cni("ADD", { sandbox: "c", env: { CNI_IFNAME: "eth1" } });
      node.sh("ip link add calidefeca1c0 type veth peer name peer"); // Calico's, say
      await gc(["b", "c"]);
      expect(await containers()).toEqual(["b", "c", "other"]);
      expect((await node.world()).endpoints).toEqual(["n1-k8s-b-eth0", "n1-k8s-c-eth0", "n1-k8s-other-eth0"]);
      expect(node.sh("ip -br link | grep -c ^cali")).toBe("4\n");
      expect(node.sh("ip -br link", "a")).not.toMatch(/eth0/);
      expect(node.sh("ip -br link", "c")).not.toMatch(/eth1/);
      await gc([]);
      expect(await containers()).toEqual(["other"]);
      node.sh("ip link del calidefeca1c0");
      await node.cni("DEL", { sandbox: "other", conf: { name: "net2" } });
      expect(await node.world()).toEqual(NOTHING);
    });

    test("as margay-ipam: the network's addresses that the list does not name, and nothing of another network", async () => {
      await node.start();
      const bridge = { plugin: "margay-ipam", conf: { name: "bridged" } };
      for (const name of ["x", "y"]) await node.cni("ADD", { sandbox: node.sandbox(name), ...bridge });
      await node.cni("ADD", { sandbox: node.sandbox("web") });
      expect(await gc(["y"], bridge.conf, "margay-ipam")).toEqual({ code: 0, stdout: "" });
      expect(await containers()).toEqual(["web", "y"]);
      expect(await node.world()).toMatchObject({ links: 1, endpoints: ["n1-k8s-web-eth0"] });
      await gc([], bridge.conf, "margay-ipam");
      await gc([]);
      expect(await node.world()).toEqual(NOTHING);
    });

    test("an endpoint that somebody writes meanwhile is removed all the same", async () => {
      await node.start();
      await node.cni("ADD", { sandbox: node.sandbox("a") });
      await node.observe();
      const seen = node.deps().localEndpoints();
      const [endpoint] = [...seen.values()];
      const { resourceVersion: _, ...metadata } = endpoint!.metadata; // just added
      const labels = { ...metadata.labels, app: "a" };
      await node.deps().endpoints.apply({ ...endpoint!, metadata: { ...metadata, labels } });
      await node.stop();
      await node.start({ keep: true, deps: { localEndpoints: () => seen } });
      expect(await gc([])).toEqual({ code: 0, stdout: "" });
      expect(await node.world()).toEqual(NOTHING);
    });

    test("what a crash left is removed too: an interface without endpoint, an address without interface", async () => {
      await node.start();
      for (const name of ["a", "b"]) await node.cni("ADD", { sandbox: node.sandbox(name) });
      await node.store.delete("/margay/v1/workloadendpoints/shop/n1-k8s-a-eth0");
      node.sh("ip link del eth0", "b");
      await gc([]);
      expect(await node.world()).toEqual(NOTHING);
    });

    test("without the list nothing is removed: it is no empty list", async () => {
      await node.start();
      await node.cni("ADD", { sandbox: node.sandbox("a") });
      const { code, stdout } = await gc(undefined);
      expect([code, JSON.parse(stdout)]).toMatchObject([
        1,
        { code: 7, msg: expect.stringContaining("valid-attachments") },
      ]);
      expect((await node.world()).links).toBe(1);
      await gc([]);
    });
  });

  test.each<[cniVersion: string, command: string, code: number]>([
    ["0.3.1", "CHECK", 1],
    ["0.4.0", "CHECK", 7],
    ["1.0.0", "GC", 1],
    ["1.0.0", "STATUS", 1],
    ["1.1.0", "GC", 7],
  ])("cniVersion %s: %s is CNI error %i", async (cniVersion, command, code) => {
    await node.start();
    const { stdout } = await node.cni(command, { sandbox: "none", conf: { cniVersion } });
    expect(JSON.parse(stdout)).toMatchObject({ cniVersion, code });
  });

  test.each(["0.3.1", "0.4.0", "1.0.0", "1.1.0"])(
    "%s: ADD in that version's shape, then DEL",
    async (cniVersion) => {
      await node.start();
      const { stdout } = await node.cni("ADD", { sandbox: node.sandbox("web"), conf: { cniVersion } });
      expect(JSON.parse(stdout)).toMatchObject({
        cniVersion,
        ips: [
          {
            address: expect.stringMatching(/^10\.244\..*\/32$/),
            ...(cniVersion.startsWith("0.") && { version: "4" }),
          },
          {
            address: expect.stringMatching(/^fd00.*\/128$/),
            ...(cniVersion.startsWith("0.") && { version: "6" }),
          },
        ],
      });
      await node.cni("DEL", { sandbox: "web", conf: { cniVersion } });
      expect(await node.world()).toEqual(NOTHING);
    },
  );

  const status = (conf = {}) =>
    node.cni("STATUS", { sandbox: "", env: { CNI_CONTAINERID: "", CNI_IFNAME: "" }, conf });

  test.each<
    [why: string, deps: Parameters<TestNode["start"]>[0], code: number | undefined, msg: RegExp | undefined]
  >([
    ["ready", {}, undefined, undefined],
    ["nothing read yet", { deps: { notReady: () => "not read" } }, 50, /not read/],
    ["no pool", { deps: { families: () => [] } }, 50, /no enabled pool/],
    ["an ADD would fail", { deps: { trouble: () => ({ why: "etcd is away", limited: false }) } }, 50, /etcd/],
    ["pods suffer", { deps: { trouble: () => ({ why: "rules refused", limited: true }) } }, 51, /refused/],
  ])("STATUS: %s", async (_why, options, code, msg) => {
    await node.start(options);
    const answer = await status();
    if (code === undefined) expect(answer).toEqual({ code: 0, stdout: "" });
    else expect(JSON.parse(answer.stdout)).toMatchObject({ code, msg: expect.stringMatching(msg!) }); // both or none
  });

  test.each<[why: string, program: string | undefined, code: number, msg: RegExp]>([
    ["is not there", undefined, 50, /no such plugin in CNI_PATH/],
    ["has no address", 'echo \'{"code":1234,"msg":"all in use"}\'; exit 1', 50, /all in use/],
    ["may do so later", 'echo \'{"code":11,"msg":"busy"}\'; exit 1', 50, /busy/],
    ["says that pods suffer", 'echo \'{"code":51,"msg":"moved"}\'; exit 1', 51, /moved/],
  ])("STATUS: the plugin for addresses %s", async (_why, program, code, msg) => {
    await node.start();
    rmSync(`${BIN}/theirs`, { force: true });
    if (program !== undefined) writeFileSync(`${BIN}/theirs`, `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    const { stdout } = await status({ ipam: { type: "theirs" } });
    expect(JSON.parse(stdout)).toMatchObject({ code, msg: expect.stringMatching(msg) });
  });
});
