import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { parse } from "@margay/api";
import { memoryStore, resources, type Store } from "@margay/datastore";
import { deleteNode, Ipam } from "@margay/ipam";
import { type Family, formatAddress, parseAddress } from "@margay/net";
import { apply } from "./apply.ts";
import { remove } from "./delete.ts";
import { show } from "./ipam.ts";
import { check, type Report } from "./ipam-check.ts";
import { configure } from "./ipam-configure.ts";
import { releaseAddresses } from "./ipam-release.ts";
import { split } from "./ipam-split.ts";
import { why } from "./ipam-why.ts";
import { inDirectory, located, recorder } from "./testing/harness.ts";

const asTable = { output: "table" } as const;
const asJson = { output: "json" } as const;

const POOL = {
  kind: "IPPool",
  metadata: { name: "p" },
  spec: { cidr: "10.0.0.0/24", blockSize: 28, natOutgoing: true },
};
const nodes = ["n1", "n2"].map((name) => ({ kind: "Node", metadata: { name } }));

async function cluster(...more: object[]): Promise<Store> {
  const store = memoryStore();
  await apply(store, located(POOL, ...nodes, ...more), asTable, recorder());
  return store;
}

/** What a command prints, spaces squeezed. */
async function printed(act: (terminal: ReturnType<typeof recorder>) => Promise<unknown>): Promise<string> {
  const terminal = recorder();
  await act(terminal);
  return terminal.printed.join("\n").replaceAll(/ {2,}/g, "  ");
}

async function ipamOn(store: Store, node: string): Promise<Ipam> {
  const pools = await resources(store, "IPPool").list();
  const config = (await resources(store, "IPAMConfiguration").get("default"))?.spec;
  return new Ipam({
    ...{ store, node, pools: () => pools, labels: () => ({}), now: () => new Date("2026-11-22T12:00:00Z") },
    config: () => config ?? SETTINGS,
  });
}
const SETTINGS = {
  ...{ strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 0 },
  ...{ hostReserved: { first: 0, last: 0 }, rackLabel: "rack" },
  kubeVirtVMAddressPersistence: "Enabled" as const,
};

const pod = (name: string, address: string, node = "n1") => ({
  ...{ handle: `k8s.${name}`, families: [4] as Family[], addresses: [parseAddress(address)] },
  attributes: {
    pod: name,
    namespace: "shop",
    node,
    containerID: name,
    timestamp: "2026-11-22T12:00:00.000Z",
  },
});
const endpoint = (name: string, address: string) => ({
  ...{ kind: "WorkloadEndpoint", metadata: { name: `n1-k8s-${name}-eth0`, namespace: "shop" } },
  spec: {
    ...{ orchestrator: "k8s", node: "n1", pod: name, endpoint: "eth0", containerID: name },
    ...{ ipNetworks: [`${address}/32`], interfaceName: "cali0123456789a" },
  },
});

test("show --node: its blocks, and what its pods use, borrowed or not", async () => {
  const store = await cluster();
  await (await ipamOn(store, "n1")).assign(pod("web", "10.0.0.17"));
  await (await ipamOn(store, "n2")).assign(pod("guest", "10.0.0.18", "n2"));
  const text = (node: string) => printed((t) => show(store, { ...asTable, showBlocks: false, node }, t));
  expect(await text("n1")).toBe(
    "BLOCK  TOTAL  IN USE  FREE\n10.0.0.16/28  16  2  14\n\nADDRESS  BLOCK  HELD BY  SINCE\n10.0.0.17  10.0.0.16/28  shop/web  2026-11-22T12:00:00.000Z",
  );
  expect(await text("n2")).toContain("10.0.0.18  10.0.0.16/28 of n1  shop/guest");
  await expect(text("n3")).rejects.toThrow("node n3 has no block and no address");
});

test("load balancers' addresses: the service is the holder, the block is no node's, and nothing is wrong with it", async () => {
  const attributes = { service: "shop/web", type: "loadBalancer", timestamp: "2026-11-22T12:00:00.000Z" };
  const store = await cluster(
    {
      ...{ kind: "IPPool", metadata: { name: "balancers" } },
      spec: { cidr: "203.0.113.0/28", blockSize: 29, allowedUses: ["LoadBalancer"] },
    },
    {
      ...{ kind: "IPAMBlock", metadata: { name: "203.0.113.0-29" } },
      spec: {
        ...{ cidr: "203.0.113.0/29", affinity: "virtual:load-balancer", sequenceNumber: 2, unallocated: [] },
        affinityClaimTime: "2026-11-22T12:00:00.000Z",
        allocations: { "2": { handle: "load-balancer.shop.web", sequence: 1, attributes } },
        released: [
          {
            ordinal: 3,
            handle: "x",
            reason: "service-gone",
            at: "2026-11-22T13:00:00Z",
            service: "shop/old",
          },
        ],
      },
    },
  );
  const blocks = await printed((t) => show(store, { ...asTable, showBlocks: true }, t));
  expect(blocks).toContain("203.0.113.0/29  load-balancer  8  1  7");
  const one = await printed((t) => show(store, { ...asTable, showBlocks: false, ip: "203.0.113.2" }, t));
  expect(one).toContain("service:  shop/web");
  const text = (ip: string) => printed((t) => why(store, { ip, ...asTable }, t));
  expect(await text("203.0.113.2")).toMatch(/in use by service shop\/web\n(.*\n)*.*of load-balancer/);
  expect(await text("203.0.113.3")).toContain(
    "service shop/old until 2026-11-22T13:00:00Z, freed by service-gone",
  );
  expect(await printed((t) => check(store, asTable, t))).not.toContain("203.0.113");
});

test("show --map: a character for each block", async () => {
  const store = await cluster();
  const ipam = await ipamOn(store, "n1");
  for (let i = 0; i < 16; i++) await ipam.assign(pod(`a${i}`, `10.0.0.${i}`));
  for (let i = 0; i < 12; i++) await ipam.assign(pod(`b${i}`, `10.0.0.${16 + i}`));
  for (let i = 0; i < 8; i++) await ipam.assign(pod(`c${i}`, `10.0.0.${32 + i}`));
  await ipam.assign(pod("d", "10.0.0.240"));
  expect(await printed((t) => show(store, { ...asTable, showBlocks: false, map: true }, t))).toBe(
    "p 10.0.0.0/24: 4 blocks claimed, 37 of 256 addresses in use\neach character is a /28\n10.0.0.0 █▓▒············░",
  );
});

test("large pools of IPv6, in 80 columns", async () => {
  const store = await cluster({
    kind: "IPPool",
    metadata: { name: "six" },
    spec: { cidr: "fd00:10:244::/56" },
  });
  await (await ipamOn(store, "n1")).assign({ handle: "a", families: [6], attributes: { node: "n1" } });
  const shown = (map: boolean) => printed((t) => show(store, { ...asTable, showBlocks: false, map }, t));
  expect(await shown(false)).toContain("six  fd00:10:244::/56  2^72  1  2^72 - 1  0");
  const rows = (await shown(true)).split("\n");
  expect(Math.max(...rows.map(({ length }) => length))).toBeLessThanOrEqual(80);
  expect(rows.filter((row) => row.includes("░"))).toHaveLength(1);
});

describe("check", () => {
  test("each problem comes with its repair, which repairs it", async () => {
    const store = await cluster(endpoint("web", "10.0.0.1"));
    const [one, two] = [await ipamOn(store, "n1"), await ipamOn(store, "n2")];
    await one.assign(pod("web", "10.0.0.1"));
    await one.assign(pod("old", "10.0.0.2"));
    await two.assign(pod("lost", "10.0.0.33", "n2"));
    await remove(
      store,
      [{ kind: "Node", metadata: { name: "n2" } }],
      { force: true, ignoreNotFound: false, ...asTable },
      recorder(),
    );
    await two.assign(pod("late", "10.0.0.34", "n2")); // by an agent that does not know yet
    expect(await printed((t) => check(store, asTable, t))).toBe(
      [
        "node n2 does not exist, but has 1 blocks and 1 addresses",
        "  repair: margay ipam release --node n2",
        "10.0.0.2 is held by k8s.old on n1, but no endpoint has it",
        "  repair: margay ipam release --ip 10.0.0.2",
      ].join("\n"),
    );
    const request = { fromReport: [], force: false, ...asTable };
    const release = (more: object) => printed((t) => releaseAddresses(store, { ...request, ...more }, t));
    expect(await release({ node: "n2" })).toBe("10.0.0.34 released; k8s.late had it");
    expect(await release({ ip: "10.0.0.2" })).toBe("10.0.0.2 released; k8s.old had it");
    expect(await check(store, asTable, recorder())).toBe(true);
    await expect(release({ ip: "10.0.0.1" })).rejects.toThrow(
      "10.0.0.1 is in use by endpoint shop/n1-k8s-web-eth0; --force releases it all the same",
    );
    await expect(release({ ip: "10.0.0.2" })).rejects.toThrow("10.0.0.2 is not assigned to anybody");
    await expect(release({ node: "n1" })).rejects.toThrow("node n1 exists");
    await expect(release({ node: "n1", ip: "10.0.0.1" })).rejects.toMatchObject({ code: "usage" });
  });

  const ipamBlock = (cidr: string, of: object = {}) => ({
    ...{ kind: "IPAMBlock", metadata: { name: cidr.replace("/", "-") } },
    spec: {
      ...{ cidr, sequenceNumber: 9, unallocated: [], allocations: {} },
      ...{ affinityClaimTime: "2026-11-22T12:00:00.000Z", ...of },
    },
  });
  const affinity = (cidr: string, state: string) => ({
    ...{ kind: "BlockAffinity", metadata: { name: `n1-${cidr.replace("/", "-")}` } },
    spec: { node: "n1", type: "host", cidr, state },
  });
  const held = (handle: string) => ({ handle, sequence: 1, attributes: { node: "n1", type: "other" } });
  const node = (podCidr: string) => ({
    ...{ kind: "Node", metadata: { name: "n1" }, status: { podCIDRs: [podCidr] } },
  });
  const disabled = { ...POOL, spec: { ...POOL.spec, disabled: true } };

  test.each<[code: string, broken: object[], repairs: string[]]>([
    [
      "pools-overlap",
      [{ kind: "IPPool", metadata: { name: "q" }, spec: { cidr: "10.0.0.128/25", blockSize: 28 } }],
      ["margay delete ippool q"],
    ],
    [
      "blocks-overlap",
      [ipamBlock("10.0.0.0/27"), ipamBlock("10.0.0.16/28")],
      [
        "restart the pods in one of them (margay get ipamblock 10.0.0.16-28 -o yaml), then: margay delete ipamblock 10.0.0.16-28",
        "none is needed: it goes when it is empty",
      ],
    ],
    ["block-outside-pools", [ipamBlock("192.168.0.0/28")], ["margay delete ipamblock 192.168.0.0-28"]],
    ["block-of-other-size", [ipamBlock("10.0.0.0/27")], ["none is needed: it goes when it is empty"]],
    [
      "block-inconsistent",
      [ipamBlock("10.0.0.0/28", { unallocated: [1, 1] })],
      [
        "restart the pods in it (margay get ipamblock 10.0.0.0-28 -o yaml), then: margay delete ipamblock 10.0.0.0-28",
      ],
    ],
    ...(
      [
        ["affinity-unsettled", [affinity("10.0.0.0/28", "pending")]],
        ["affinity-without-block", [affinity("10.0.0.0/28", "confirmed")]],
        ["block-without-affinity", [ipamBlock("10.0.0.0/28", { affinity: "host:n1" })]],
      ] as const
    ).map(([code, broken]): [string, object[], string[]] => [
      code,
      [...broken],
      ["none is needed while the agent of n1 runs: it settles that at its next assignment"],
    ]),
    [
      "held-twice",
      [ipamBlock("10.0.0.0/28", { allocations: { 1: held("a"), 2: held("a") } })],
      ["margay ipam release --ip 10.0.0.2, if no pod has it"],
    ],
    ...[
      [endpoint("web", "10.0.0.1")],
      // a block of ours holds that ground, whatever the node's own range: kubeadm's --pod-network-cidr
      [node("10.0.0.0/26"), ipamBlock("10.0.0.0/28"), endpoint("web", "10.0.0.1")],
      [
        ...[disabled, node("10.0.0.0/26")],
        ipamBlock("10.0.0.0/28", { allocations: { 2: held("a") } }),
        endpoint("web", "10.0.0.1"),
      ],
    ].map((broken): [string, object[], string[]] => [
      "unallocated-in-use",
      broken,
      ["restart the pod of shop/n1-k8s-web-eth0"],
    ]),
    [
      "used-twice",
      [
        ipamBlock("10.0.0.0/28", { allocations: { 1: held("a") } }),
        ...[endpoint("web", "10.0.0.1"), endpoint("web2", "10.0.0.1")],
      ],
      ["restart the pods of shop/n1-k8s-web2-eth0"],
    ],
  ])("%s: its repair mends it", async (code, broken, repairs) => {
    const store = await cluster();
    for (const one of broken) {
      const { resource } = parse({ apiVersion: "margay.dev/v1", ...one } as object);
      await resources(store, resource.kind).apply(resource as never); // the collection is of its kind
    }
    const problems = async () =>
      (JSON.parse(await printed((t) => check(store, asJson, t))) as Report).problems;
    expect((await problems()).map(({ repair }) => repair)).toEqual(repairs);
    expect((await problems())[0]?.code).toBe(code);
    for (const repair of repairs) await mend(store, repair);
    expect(await problems()).toEqual([]);
  });

  /** Does what a repair says; a pod that is restarted loses its endpoint, and an agent that runs assigns and tidies. */
  async function mend(store: Store, repair: string): Promise<void> {
    const [, kind, name = ""] = /margay delete (\w+) (\S+)$/.exec(repair) ?? [];
    const [, ip] = /margay ipam release --ip ([\d.]+)/.exec(repair) ?? [];
    const [, pods] = /restart the pods? of (.*)/.exec(repair) ?? [];
    if (kind === "ippool" || kind === "ipamblock") {
      const of = { kind: kind === "ippool" ? "IPPool" : "IPAMBlock", metadata: { name } } as const;
      await remove(store, [of], { force: true, ignoreNotFound: false, ...asTable }, recorder());
    } else if (ip) {
      await releaseAddresses(store, { ip, fromReport: [], force: false, ...asTable }, recorder());
    } else if (pods) {
      for (const one of pods.split(", "))
        await resources(store, "WorkloadEndpoint").delete(one.split("/")[1] ?? "", "shop");
    } else {
      const ipam = await ipamOn(store, "n1");
      await ipam.assign(pod("new", "10.0.0.200"));
      await ipam.release({ handle: "k8s.new" });
      for (let times = 0; times < 2; times++) await ipam.tidy();
    }
  }

  test("the address of another plugin's pod, which has no endpoint, is no leak, and not released by mistake", async () => {
    const store = await cluster();
    const attributes = { node: "n1", containerID: "c1", plugin: "bridge" };
    const [held] = await (await ipamOn(store, "n1")).assign({ handle: "h", families: [4], attributes });
    expect(await check(store, asTable, recorder())).toBe(true);
    const release = (force: boolean) => {
      const request = { ip: formatAddress(held!.address), fromReport: [], force, ...asTable };
      return printed((t) => releaseAddresses(store, request, t));
    };
    await expect(release(false)).rejects.toThrow(/given to the plugin bridge.*container c1/);
    expect(await release(true)).toMatch(/released; h had it/);
  });

  test("an address of a node's own range, from another plugin: a danger only while the pool may give it too", async () => {
    const store = await cluster(node("10.0.0.64/26"), endpoint("web", "10.0.0.65"));
    const report = JSON.parse(await printed((t) => check(store, asJson, t))) as Report;
    expect(report.problems.map(({ code, repair }) => [code, repair])).toEqual([
      [
        "unallocated-in-use",
        "set disabled: true on IPPool p: 10.0.0.64/26 is a node's own range, for another plugin",
      ],
    ]);
    await apply(store, located(disabled), asTable, recorder());
    expect(await check(store, asTable, recorder())).toBe(true);
  });

  test("a corrupt block is no clean bill", async () => {
    const store = await cluster();
    await store.put("/margay/v1/ipamblocks/10.0.0.0-28", "{");
    const terminal = recorder();
    expect(await check(store, asTable, terminal)).toBe(false);
    expect(terminal.warned[0]).toMatch(/ipamblocks\/10\.0\.0\.0-28/);
  });
});

describe("release --from-report", () => {
  const guid = (clusterGUID: string) => ({
    kind: "ClusterInformation",
    metadata: { name: "default" },
    spec: { clusterGUID },
  });

  test("frees what every report calls leaked and nobody was given since", async () => {
    await inDirectory(async (directory) => {
      const store = await cluster(guid("g1"));
      const ipam = await ipamOn(store, "n1");
      const report = async (name: string) => {
        const path = join(directory, name);
        writeFileSync(path, await printed((t) => check(store, asJson, t)));
        return path;
      };
      for (const [i, name] of ["a", "b", "c"].entries()) await ipam.assign(pod(name, `10.0.0.${i}`));
      const first = await report("first");
      await ipam.release({ handle: "k8s.b" });
      await ipam.assign(pod("b", "10.0.0.1")); // the same pod again: another sequence number
      await ipam.assign(pod("d", "10.0.0.3"));
      await apply(store, located(endpoint("c", "10.0.0.2")), asTable, recorder());
      const second = await report("second");
      const request = { fromReport: [first, second], force: false, ...asTable };
      expect(await printed((t) => releaseAddresses(store, request, t))).toBe(
        "10.0.0.0 released; k8s.a had it",
      );
      expect(await printed((t) => releaseAddresses(store, request, t))).toBe("nothing to release");
      const elsewhere = await cluster(guid("g2"));
      await expect(releaseAddresses(elsewhere, request, recorder())).rejects.toThrow(
        /is of another cluster: g1, this is g2/,
      );
    });
  });
});

describe("why", () => {
  const reservation = {
    kind: "IPReservation",
    metadata: { name: "gw" },
    spec: { reservedCIDRs: ["10.0.0.14/31"] },
  };

  test("who holds it, since when, by which call, and who had it before", async () => {
    const store = await cluster(reservation, endpoint("web", "10.0.0.1"));
    const ipam = await ipamOn(store, "n1");
    await ipam.assign(pod("old", "10.0.0.1"));
    await ipam.release({ handle: "k8s.old", reason: "cni-del" });
    await ipam.assign(pod("web", "10.0.0.1"));
    const ask = (ip: string) => printed((t) => why(store, { ip, ...asTable }, t));
    expect(await ask("10.0.0.1")).toBe(
      [
        "address:  10.0.0.1",
        "state:  in use by pod shop/web on node n1",
        "since:  2026-11-22T12:00:00.000Z",
        "by:  CNI ADD of container web",
        "endpoint:  shop/n1-k8s-web-eth0",
        "pool:  p",
        "block:  10.0.0.0/28 of n1",
        "before:  pod shop/old on node n1 until 2026-11-22T12:00:00.000Z, freed by cni-del",
      ].join("\n"),
    );
    await ipam.release({ handle: "k8s.web" });
    expect(await ask("10.0.0.1")).toContain("state:  in use, and not held in Margay's IPAM\n");
    await resources(store, "WorkloadEndpoint").delete("n1-k8s-web-eth0", "shop");
    expect(await ask("10.0.0.1")).toContain("state:  free\n");
    expect(await ask("10.0.0.1")).toContain("before:  pod shop/web on node n1 until");
    expect(await ask("10.0.0.15")).toContain("free, reserved by gw");
    expect(await ask("192.0.2.1")).toBe("address:  192.0.2.1\nstate:  in no pool");
    await expect(ask("web")).rejects.toMatchObject({ code: "usage" });
  });

  test.each<[why: string, act: (store: Store, ipam: Ipam) => Promise<unknown>, reason: string]>([
    [
      "given back empty",
      async (_, ipam) => {
        await ipam.release({ handle: "k8s.old", reason: "cni-del" });
        await ipam.releaseBlock("10.0.0.0/28");
      },
      "cni-del",
    ],
    [
      "given back in use, and gone with its last address",
      async (_, ipam) => {
        await ipam.releaseBlock("10.0.0.0/28");
        await ipam.release({ handle: "k8s.old", reason: "cni-del" });
      },
      "cni-del",
    ],
    [
      "its node deleted",
      (store) => deleteNode({ store, now: () => new Date("2026-11-22T12:00:00Z") }, "n1"),
      "node-deleted",
    ],
  ])(
    "who had an address of a block that is gone, %s; also once the block is another's",
    async (_why, act, reason) => {
      const store = await cluster();
      const ipam = await ipamOn(store, "n1");
      await ipam.assign(pod("old", "10.0.0.1"));
      await act(store, ipam);
      const ask = () => printed((t) => why(store, { ip: "10.0.0.1", ...asTable }, t));
      const before = `before:  pod shop/old on node n1 until 2026-11-22T12:00:00.000Z, freed by ${reason}`;
      expect(await resources(store, "IPAMBlock").list()).toEqual([]);
      expect(await ask()).toBe(`address:  10.0.0.1\nstate:  free\npool:  p\n${before}`);
      await (await ipamOn(store, "n2")).assign(pod("new", "10.0.0.1"));
      expect(await ask()).toMatch(new RegExp(`state: +in use by pod shop/new on node .*${before}`, "s"));
    },
  );

  test("what other plugins made, or gave: so it is said, as by show --ip", async () => {
    const store = await cluster(endpoint("web", "192.0.2.7"));
    const attributes = { node: "n1", pod: "db", namespace: "shop", containerID: "c1", plugin: "bridge" };
    await (await ipamOn(store, "n1")).assign({
      ...{ handle: "net.c1", families: [4], attributes },
      addresses: [parseAddress("10.0.0.3")],
    });
    const ask = (ip: string) => printed((t) => why(store, { ip, ...asTable }, t));
    const shown = (ip: string) => printed((t) => show(store, { ip, showBlocks: false, ...asTable }, t));
    expect(await ask("10.0.0.3")).toContain("endpoint:  none: the plugin bridge made its interface\n");
    expect(await shown("10.0.0.3")).toContain("plugin:  bridge\n");
    expect(await ask("192.0.2.7")).toBe(
      "address:  192.0.2.7\nstate:  in use, and not held in Margay's IPAM\nendpoint:  shop/n1-k8s-web-eth0",
    );
    expect(await shown("192.0.2.7")).toBe(
      "address:  192.0.2.7\nendpoint:  shop/n1-k8s-web-eth0\nhandle:  none: not held in Margay's IPAM",
    );
    await expect(shown("192.0.2.8")).rejects.toThrow("192.0.2.8 is free; it lies in no pool");
  });
});

test("configure: says what is set, changes what is asked, refuses what makes no sense", async () => {
  const store = await cluster();
  const set = (settings: object) => printed((t) => configure(store, { ...asTable, ...settings }, t));
  expect(await set({})).toContain("strictAffinity  false");
  expect(await resources(store, "IPAMConfiguration").get("default")).toBeUndefined(); // only asked
  await set({ strictAffinity: true, maxBlocksPerHost: 4, hostReservedLast: 1 });
  await set({ ipCooldownSeconds: 30 });
  expect((await resources(store, "IPAMConfiguration").get("default"))?.spec).toMatchObject({
    ...{
      strictAffinity: true,
      maxBlocksPerHost: 4,
      ipCooldownSeconds: 30,
      hostReserved: { first: 0, last: 1 },
    },
  });
  await expect(set({ strictAffinity: false })).rejects.toMatchObject({ code: "invalid" });
});

describe("split", () => {
  const ranges = async (store: Store) =>
    (await resources(store, "IPPool").list()).map(
      ({ metadata, spec }) => `${metadata.name} ${spec.cidr} ${spec.disabled ? "disabled" : "enabled"}`,
    );
  const QUARTERS = ["0", "64", "128", "192"].map((last, i) => `split-p-${i} 10.0.0.${last}/26 enabled`);

  test("four parts with the pool's settings; what is in use stays", async () => {
    const store = await cluster();
    await (await ipamOn(store, "n1")).assign(pod("web", "10.0.0.70"));
    await split(store, { parts: 4, name: "p", ...asTable }, recorder());
    expect(await ranges(store)).toEqual(QUARTERS);
    const [part] = await resources(store, "IPPool").list();
    expect(part).toMatchObject({ metadata: { annotations: {} }, spec: { blockSize: 28, natOutgoing: true } });
    expect(
      await printed((t) => show(store, { ...asTable, showBlocks: false, ip: "10.0.0.70" }, t)),
    ).toContain("shop/web");
  });

  test("interrupted after any write, the same command finishes it", async () => {
    for (let afterWrites = 0; afterWrites < 10; afterWrites++) {
      const store = memoryStore();
      await apply(store, located(POOL), asTable, recorder());
      store.failNext({ when: "before", afterWrites });
      const once = () => split(store, { parts: 4, name: "p", ...asTable }, recorder());
      await expect(once()).rejects.toMatchObject({ code: "unavailable" });
      await once();
      expect(await ranges(store)).toEqual(QUARTERS);
    }
  });

  test("a pool that gives nothing out stays so, and nonsense is refused", async () => {
    const store = await cluster({
      ...POOL,
      metadata: { name: "off" },
      spec: { cidr: "10.1.0.0/24", disabled: true },
    });
    await split(store, { parts: 2, cidr: "10.1.0.0/24", ...asTable }, recorder());
    expect((await ranges(store)).slice(1)).toEqual([
      "split-off-0 10.1.0.0/25 disabled",
      "split-off-1 10.1.0.128/25 disabled",
    ]);
    const bad = (more: object) => split(store, { parts: 2, ...asTable, ...more }, recorder());
    await expect(bad({ name: "p", parts: 3 })).rejects.toThrow("3 is no power of two above 1");
    await expect(bad({ name: "p", parts: 32 })).rejects.toThrow("pool p has fewer than 32 blocks");
    await expect(bad({ name: "q" })).rejects.toThrow("there is no pool q");
  });
});
