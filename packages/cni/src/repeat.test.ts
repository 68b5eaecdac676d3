import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { StoreError } from "@margay/datastore";
import { formatAddress } from "@margay/net";
import { unshared } from "@margay/testing";
import { attach, detach, parseLabels } from "./attach.ts";
import { type Called, NOTHING, SOCKET, TestNode } from "./testing/node.ts";

const SPOOL = "/run/margay/cni-spool";

unshared(import.meta.url, () => {
  let node: TestNode;
  beforeAll(() => {
    TestNode.install();
    node = new TestNode();
  });
  afterAll(() => node.netlink.close());
  afterEach(async () => {
    await node.clear();
    node.answersFirst = false;
    rmSync(SPOOL, { recursive: true, force: true });
  });

  const OK = { code: 0, stdout: "" };
  const web: Called = { sandbox: "web" };
  const add = (call: Called = web) => node.cni("ADD", call);
  const del = async (call: Called = web) => {
    const answer = await node.cni("DEL", call);
    if (node.answersFirst) await node.settled();
    return answer;
  };
  const ips = ({ stdout }: { stdout: string }) => (JSON.parse(stdout) as { ips: object[] }).ips;

  const ROWS: readonly (readonly [why: string, act: () => Promise<unknown>])[] = [
    [
      "ADD repeated: the same addresses, one of everything",
      async () => {
        const first = await add();
        expect(ips(await add())).toEqual(ips(first));
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "ADD repeated with another address asked for: refused, with the one that it has, which it keeps",
      async () => {
        const first = await add();
        const env = { CNI_ARGS: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;IP=10.244.0.77" };
        for (const plugin of ["margay-cni", "margay-ipam"] as const)
          expect(JSON.parse((await add({ ...web, env, plugin })).stdout)).toMatchObject({
            code: 101,
            msg: expect.stringMatching(
              /^ipam: address 10\.244\.0\.77 is asked for by net\.web, which has 10\.244\./,
            ),
          });
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(ips(await add())).toEqual(ips(first));
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "ADD twice at once: the same",
      async () => {
        const [a, b] = await Promise.all([add(), add()]);
        expect(ips(a)).toEqual(ips(b));
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "ADD repeated while the datastore is away: it fails, and takes nothing from the living one",
      async () => {
        const first = await add();
        node.sh("ip link del eth0", "web"); // so that there is something to make
        const index = () => node.sh("cat /sys/class/net/eth0/ifindex", "web");
        node.store.failNext({ afterWrites: 0, when: "before" });
        expect(JSON.parse((await add()).stdout)).toMatchObject({ code: 11 });
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        const made = index();
        expect([ips(await add()), index()]).toEqual([ips(first), made]);
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "ADD of a newer sandbox that gets no address: the older one keeps working",
      async () => {
        const fresh = { sandbox: node.sandbox("new"), pod: "web", conf: { ipam: { ipv4_pools: ["none"] } } };
        await add();
        expect(JSON.parse((await add(fresh)).stdout)).toMatchObject({ code: 100 });
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(node.sh("ip -o link show eth0", "web")).toMatch(/state UP/);
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "DEL twice",
      async () => {
        await add();
        expect([await del(), await del()]).toEqual([OK, OK]);
      },
    ],
    [
      "DEL twice at once",
      async () => {
        await add();
        expect(await Promise.all([del(), del()])).toEqual([OK, OK]);
      },
    ],
    [
      "DEL of what never was",
      async () => {
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "DEL without a namespace",
      async () => {
        await add();
        expect(await del({ ...web, env: { CNI_NETNS: "" } })).toEqual(OK);
      },
    ],
    [
      "DEL with a namespace that is gone",
      async () => {
        await add();
        node.sh("umount /run/netns/web && rm /run/netns/web");
        expect(await del()).toEqual(OK);
      },
    ],
    [
      "DEL without prevResult, and with it",
      async () => {
        const prevResult = JSON.parse((await add()).stdout);
        expect([await del(), await del({ ...web, conf: { prevResult } })]).toEqual([OK, OK]);
      },
    ],
    [
      "DEL of an older sandbox while the newer one lives: that keeps working",
      async () => {
        const fresh = { sandbox: node.sandbox("new"), pod: "web" };
        await add();
        await add(fresh);
        expect(await del()).toEqual(OK);
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(node.sh("ip -o link show eth0", "new")).toMatch(/state UP/);
        expect(await del(fresh)).toEqual(OK);
      },
    ],
    [
      "DEL of the newer sandbox, then of the older one",
      async () => {
        const fresh = { sandbox: node.sandbox("new"), pod: "web" };
        await add();
        await add(fresh);
        expect([await del(fresh), await del()]).toEqual([OK, OK]);
      },
    ],
    [
      "DEL without a namespace of an ADD that stopped half-way: no endpoint says whose the interface is",
      async () => {
        await add();
        await node.store.delete("/margay/v1/workloadendpoints/shop/n1-k8s-web-eth0");
        expect(await del({ ...web, env: { CNI_NETNS: "" } })).toEqual(OK);
      },
    ],
    [
      "DEL of a pod whose endpoint nobody can read: that alone stays",
      async () => {
        await add();
        const key = "/margay/v1/workloadendpoints/shop/n1-k8s-web-eth0";
        await node.store.put(key, "rubbish");
        expect(await del()).toEqual(OK);
        await node.store.delete(key);
      },
    ],
    [
      "DEL with the agent down: kept, and done when it is back",
      async () => {
        await add();
        await node.stop();
        expect([await del(), await del()]).toEqual([OK, OK]);
        const [kept, ...others] = readdirSync(SPOOL); // the repeat is the same call
        expect([kept, others]).toEqual([expect.stringMatching(/^web\.eth0\.margay-cni\.[0-9a-f]{8}$/), []]);
        expect((statSync(SPOOL).mode & 0o777).toString(8)).toBe("700");
        expect((statSync(`${SPOOL}/${kept}`).mode & 0o777).toString(8)).toBe("600");
        expect((await node.world()).addresses).toBe(2);
        await node.start({ keep: true });
        expect(await node.spool.drain()).toBe(0);
      },
    ],
    [
      "DEL with the agent down, then ADD of the same container: the DEL comes first",
      async () => {
        await add();
        await node.stop();
        await del();
        await node.start({ keep: true });
        const drained = node.spool.drain(); // whatever the two do at once, the newer call has the last word
        expect((await add()).code).toBe(0);
        await drained;
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-web-eth0"] });
        expect(node.sh("ip -o link show eth0", "web")).toMatch(/state UP/);
        expect(readdirSync(SPOOL)).toEqual([]);
        await del();
      },
    ],
    [
      "DEL with the agent down, and the namespace's path is another container's when it is back",
      async () => {
        await add();
        await node.stop();
        await del();
        await node.start({ keep: true });
        const next = {
          sandbox: "web",
          pod: "next",
          env: { CNI_CONTAINERID: "next", CNI_NETNS: "/run/netns/web" },
        };
        await add(next);
        await node.spool.drain();
        expect(await node.world()).toEqual({ links: 1, addresses: 2, endpoints: ["n1-k8s-next-eth0"] });
        await del(next);
      },
    ],
    [
      "DEL with the agent down, as margay-ipam",
      async () => {
        const call = { ...web, plugin: "margay-ipam" };
        await add(call);
        await node.stop();
        expect(await del(call)).toEqual(OK);
        await node.start({ keep: true });
        expect(await node.spool.drain()).toBe(0);
      },
    ],
  ];
  test.each([
    ...ROWS.map(([why, act]) => [why, "done before it is answered", act, false] as const),
    ...ROWS.map(([why, act]) => [why, "answered before it is done", act, true] as const),
  ])("%s, and nothing is left (DEL %s)", async (_why, _manner, act, answersFirst) => {
    node.answersFirst = answersFirst;
    await node.start();
    node.sandbox("web");
    await act();
    expect(await node.world()).toEqual(NOTHING);
    expect(node.sh("ls /run/margay/cni-spool")).toBe("");
  });

  describe("calls that are kept", () => {
    test("stay while they fail, and hold an ADD of their container back", async () => {
      await node.start();
      node.sandbox("web");
      await add();
      await node.stop();
      await del();
      const release = async () => {
        throw new StoreError("unavailable", "etcd is away");
      };
      await node.start({ keep: true, deps: { ipam: { ...node.deps().ipam, release } } });
      expect(await node.spool.drain()).toBe(1);
      expect(JSON.parse((await add()).stdout)).toMatchObject({
        code: 11,
        msg: expect.stringContaining("earlier DEL"),
      });
      await node.stop();
      await node.start({ keep: true });
      expect(await node.spool.drain()).toBe(0);
      expect(await node.world()).toEqual(NOTHING);
    });

    test("are thrown away, and told, when they are no calls", async () => {
      await node.start();
      writeFileSync(`${SPOOL}/x.eth0.margay-cni`, "rubbish");
      expect(await node.spool.drain()).toBe(0);
      expect([readdirSync(SPOOL), node.bad.length]).toEqual([[], 1]);
    });

    test("are bounded in number: then a DEL fails as retryable", async () => {
      await node.start();
      await node.stop();
      node.sh(`cd ${SPOOL} && seq 4096 | xargs touch`);
      expect(JSON.parse((await del()).stdout)).toMatchObject({ code: 11 });
    });

    test.each(["../x", "a/b", ".x", "", "x".repeat(101)])(
      "never have a name that is a path: %s",
      async (id) => {
        await node.start();
        await node.stop();
        expect(JSON.parse((await del({ ...web, env: { CNI_CONTAINERID: id } })).stdout)).toMatchObject({
          code: 11,
        });
        expect([readdirSync(SPOOL), readdirSync("/run/margay")]).toEqual([[], ["cni-spool"]]);
      },
    );
  });

  test("a namespace attached by hand, twice, and detached, with the agent up and down", async () => {
    await node.start();
    const netns = `/run/netns/${node.sandbox("vm")}`;
    const vm = {
      ...{ name: "vm", namespace: "shop", ifname: "eth0", netns, ips: [] },
      labels: parseLabels(["app=vm"]),
    };
    const first = await attach(SOCKET, vm);
    expect((await attach(SOCKET, vm)).ips).toEqual(first.ips);
    const found = await node.deps().endpoints.get("n1-cni-vm-eth0", "shop");
    expect(found?.metadata.labels).toMatchObject({ app: "vm", "projectcalico.org/orchestrator": "cni" });
    expect(node.sh("ip -o -4 address show eth0", "vm")).toContain(first.ips[0]!.address);
    const gc = { "cni.dev/valid-attachments": [] };
    await node.cni("GC", { sandbox: "x", conf: gc }); // the runtime's network is another
    expect((await node.world()).links).toBe(1);
    const other = { ...vm, namespace: "bank", netns: `/run/netns/${node.sandbox("vm2")}` };
    await attach(SOCKET, other);
    await detach(SOCKET, { ...other, netns: "" });
    expect((await node.world()).links).toBe(1);
    await attach(SOCKET, other);
    await node.stop();
    await detach(SOCKET, vm);
    await detach(SOCKET, other); // of the same name, in another namespace
    await node.start({ keep: true });
    await node.spool.drain();
    expect(await node.world()).toEqual(NOTHING);
    const again = attach(SOCKET, { ...vm, netns: "/run/netns/none" });
    await expect(again).rejects.toMatchObject({
      code: 3,
      message: "network namespace /run/netns/none does not exist",
    });
  });

  test("a workload of before its names were told apart: repeated and detached all the same", async () => {
    await node.start();
    const vm = { name: "vm.1", namespace: "shop", ifname: "eth0", netns: `/run/netns/${node.sandbox("vm")}` };
    const all = { ...vm, ips: [], labels: [] };
    await attach(SOCKET, all);
    const endpoints = node.deps().endpoints;
    const found = await endpoints.get("n1-cni-vm.1-eth0", "shop");
    const { interfaceName } = found!.spec; // just made
    node.sh(
      `ip link set ${interfaceName} down && ip link set ${interfaceName} name caliold && ip link set caliold up`,
    );
    await endpoints.apply({ ...found!, spec: { ...found!.spec, interfaceName: "caliold" } });
    await node.observe();
    await attach(SOCKET, all);
    expect(node.sh("ip -br link | grep -o ^cali[a-z0-9]*")).toBe("caliold\n");
    await detach(SOCKET, vm);
    expect(await node.world()).toEqual(NOTHING);
  });

  test("a container with a dot whose addresses have the handle of before: freed with it", async () => {
    await node.start();
    const attributes = { node: "n1", containerID: "vm.1" };
    await node.deps().ipam.assignWith({ handle: "attach-shop.vm.1", families: [4], attributes }, () => []);
    await node.observe();
    await detach(SOCKET, { name: "vm.1", namespace: "shop", ifname: "eth0", netns: "" });
    expect(await node.world()).toEqual(NOTHING);
  });

  test("a container with a dot whose addresses have the handle of before: repeated and checked with it", async () => {
    await node.start();
    const call = { sandbox: node.sandbox("web.v2") };
    const attributes = { node: "n1", containerID: "web.v2" };
    const { ipam } = node.deps();
    await ipam.assignWith({ handle: "net.web.v2", families: [4, 6], attributes }, () => []);
    const before = [...node.deps().held()].map(({ address }) => formatAddress(address));
    const { stdout } = await add(call);
    const prevResult = JSON.parse(stdout) as { ips: { address: string }[] };
    expect(prevResult.ips.map(({ address }) => address.split("/")[0])).toEqual(before);
    expect(await node.cni("CHECK", { ...call, conf: { prevResult } })).toEqual(OK);
    await del(call);
    expect(await node.world()).toEqual(NOTHING);
  });

  test("... and as margay-ipam: a repeat that fails frees nothing", async () => {
    await node.start();
    const call = { sandbox: "web.v2", plugin: "margay-ipam" };
    const attributes = { node: "n1", containerID: "web.v2" };
    const { ipam } = node.deps();
    await ipam.assignWith({ handle: "net.web.v2", families: [4, 6], attributes }, () => []);
    expect((await add({ ...call, conf: { type: "bridge" } })).code).toBe(1); // no gateway in the block
    expect((await node.world()).addresses).toBe(2);
    const prevResult = JSON.parse((await add(call)).stdout) as object;
    expect(await node.cni("CHECK", { ...call, conf: { prevResult } })).toEqual(OK);
    await del(call);
    expect(await node.world()).toEqual(NOTHING);
  });

  test("with the agent down, ADD is to be tried again (11), and STATUS says that it is down (50)", async () => {
    expect(JSON.parse((await add()).stdout)).toMatchObject({ code: 11 });
    expect(JSON.parse((await node.cni("STATUS", web)).stdout)).toMatchObject({ code: 50 });
  });
});
