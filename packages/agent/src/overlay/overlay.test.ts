import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeAll, expect, test } from "@jest/globals";
import { encode, keyOf, parse } from "@margay/api";
import { type MemoryStore, memoryStore, resources } from "@margay/datastore";
import { checksumOffload, setChecksumOffload } from "@margay/netlink";
import { noLinks, noRoutes, unshared, until } from "@margay/testing";
import { startAgent } from "../start.ts";
import { pause, type TestContext, testContext } from "../testing/context.ts";
import { HANDOVER_MS } from "./handover.ts";

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

async function put(store: MemoryStore, kind: string, name: string, spec: object): Promise<void> {
  const { resource } = parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec });
  await store.put(keyOf(resource.kind, name), encode(resource));
}

const four = (vxlanMode: string) => ({ cidr: "10.244.0.0/24", blockSize: 29, vxlanMode });
const six = (vxlanMode: string) => ({ cidr: "fd00:10:244::/64", vxlanMode });

/** n2 on this subnet, n3 on another; both have a tunnel and a block of each family. */
async function cluster(vxlanMode: string): Promise<MemoryStore> {
  const store = memoryStore();
  await put(store, "Node", "n1", {
    bgp: { ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" },
  });
  for (const [n, subnet] of [
    [2, 0],
    [3, 9],
  ] as const) {
    await put(store, "Node", `n${n}`, {
      bgp: { ipv4Address: `172.20.${subnet}.1${n}/24`, ipv6Address: `fd00:172:2${subnet}::1${n}/64` },
      ...{ ipv4VXLANTunnelAddr: `10.244.0.${n * 8}`, vxlanTunnelMACAddr: `66:00:00:00:00:0${n}` },
      ...{ ipv6VXLANTunnelAddr: `fd00:10:244::${n}00`, vxlanTunnelMACAddrV6: `66:00:00:00:06:0${n}` },
    });
    await affinity(store, `n${n}`, `10.244.0.${n * 8}/29`);
    await affinity(store, `n${n}`, `fd00:10:244::${n}00/122`);
  }
  await put(store, "IPPool", "four", four(vxlanMode));
  await put(store, "IPPool", "six", six(vxlanMode));
  return store;
}

const affinity = (store: MemoryStore, node: string, cidr: string) =>
  put(store, "BlockAffinity", `${node}-${cidr.replace("/", "-")}`, {
    node,
    cidr,
    type: "host",
    state: "confirmed",
  });

const toNodes = () =>
  lines(sh("ip route show proto 142; ip -6 route show proto 142 | sed 's/ pref medium//'")).filter((line) =>
    line.includes(" via "),
  );
const forwarding = () => lines(sh("bridge fdb show | grep dst || true"));
const neighbours = () => lines(sh("ip neigh show nud permanent | grep vxlan"));
const device = (name = "vxlan.margay") => sh(`ip -d link show ${name} 2>/dev/null || true`);

const THROUGH_TUNNEL = [
  "10.244.0.16/29 via 10.244.0.16 dev vxlan.margay metric 1023 onlink",
  "10.244.0.24/29 via 10.244.0.24 dev vxlan.margay metric 1023 onlink",
  "fd00:10:244::200/122 via fe80::6400:ff:fe00:602 dev vxlan-v6.margay metric 1023",
  "fd00:10:244::300/122 via fe80::6400:ff:fe00:603 dev vxlan-v6.margay metric 1023",
];

unshared(import.meta.url, () => {
  const runDir = mkdtempSync("/run/overlay-");
  let running: { stop(): Promise<void> } | undefined;

  async function start(store: MemoryStore): Promise<TestContext> {
    const context = testContext({ store, node: "n1", runDir });
    running = await startAgent(context.daemon);
    return context;
  }

  beforeAll(() => {
    sh(
      "ip link set lo up; ip link add eth0 mtu 1600 type veth peer name wire; ip link set eth0 up; ip link set wire up",
    );
    sh("ip addr add 172.20.0.11/24 dev eth0; ip addr add fd00:172:20::11/64 dev eth0 nodad");
  });
  afterEach(async () => {
    await running?.stop();
    running = undefined;
    await noLinks("vxlan(-v6)?.margay");
    await noRoutes("142");
    rmSync(`${runDir}/cni.sock`, { force: true });
  });

  const settled = (expected: string[]) =>
    until(() => toNodes().sort().join("\n") === expected.toSorted().join("\n")).catch(() =>
      expect(toNodes().sort()).toEqual(expected.toSorted()),
    );

  test("Always: devices, forwarding, neighbours and routes, and the Node tells the others", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    expect(device()).toMatch(
      /mtu 1550 .*state UNKNOWN[\s\S]*66:40:b3:ea:b6:3f[\s\S]*vxlan id 4096 local 172.20.0.11 .*dstport 4789 nolearning/,
    );
    expect(device("vxlan-v6.margay")).toMatch(/mtu 1530[\s\S]*vxlan id 4096 local fd00:172:20::11 /);
    expect(forwarding().sort()).toEqual([
      "66:00:00:00:00:02 dev vxlan.margay dst 172.20.0.12 self permanent",
      "66:00:00:00:00:03 dev vxlan.margay dst 172.20.9.13 self permanent",
      "66:00:00:00:06:02 dev vxlan-v6.margay dst fd00:172:20::12 self permanent",
      "66:00:00:00:06:03 dev vxlan-v6.margay dst fd00:172:29::13 self permanent",
    ]);
    expect(neighbours().sort()).toEqual([
      "10.244.0.16 dev vxlan.margay lladdr 66:00:00:00:00:02 PERMANENT",
      "10.244.0.24 dev vxlan.margay lladdr 66:00:00:00:00:03 PERMANENT",
      "fe80::6400:ff:fe00:602 dev vxlan-v6.margay lladdr 66:00:00:00:06:02 PERMANENT",
      "fe80::6400:ff:fe00:603 dev vxlan-v6.margay lladdr 66:00:00:00:06:03 PERMANENT",
    ]);
    expect(sh("cat /proc/sys/net/ipv4/conf/vxlan.margay/rp_filter").trim()).toBe("2");
    const own = (await resources(store, "Node").get("n1"))?.spec;
    expect(device()).toContain(own?.vxlanTunnelMACAddr);
    expect(sh("ip -4 addr show dev vxlan.margay")).toContain(
      `inet ${own?.ipv4VXLANTunnelAddr}/32 scope global`,
    );
    expect(sh("ip -6 addr show dev vxlan-v6.margay")).toContain(
      `inet6 ${own?.ipv6VXLANTunnelAddr}/128 scope global`,
    );
    const held = (await resources(store, "IPAMBlock").list()).flatMap(({ spec }) =>
      Object.values(spec.allocations),
    );
    expect(held.map(({ handle, attributes: { type } }) => `${handle} ${type}`).sort()).toEqual([
      "vxlan-tunnel-addr-n1 vxlanTunnelAddress",
      "vxlan-v6-tunnel-addr-n1 vxlanTunnelAddress",
    ]);
  });

  test("BGP's own routes to the blocks are in nobody's way, and a route that was refused is tried again", async () => {
    const store = await cluster("Always");
    sh("ip -6 route add fd00:10:244::200/122 via fd00:172:20::12 metric 1024 proto 143");
    sh("ip route add 10.244.0.16/29 via 172.20.0.12 metric 1023 proto 99");
    await start(store);
    await settled([...THROUGH_TUNNEL].filter((line) => !line.startsWith("10.244.0.16")));
    sh("ip -6 route del fd00:10:244::200/122 proto 143; ip route del 10.244.0.16/29 proto 99");
    await settled(THROUGH_TUNNEL);
  });

  test("CrossSubnet: neighbours plainly, others through the tunnel", async () => {
    const store = await cluster("CrossSubnet");
    await start(store);
    await settled([
      "10.244.0.16/29 via 172.20.0.12 dev eth0 metric 1023",
      ...THROUGH_TUNNEL.filter((line) => /0\.24\/|300/.test(line)),
      "fd00:10:244::200/122 via fd00:172:20::12 dev eth0 metric 1023",
    ]);
    expect(forwarding().some((line) => line.includes("66:00:00:00:00:02"))).toBe(false);
  });

  test("whatever of it is taken away comes back, and what is not ours stays", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    const whole = () =>
      [...[...toNodes(), ...forwarding(), ...neighbours()].sort(), device().replace(/^\d+:/, "")].join("\n");
    const before = whole();
    const back = async (command: string) => {
      sh(command);
      await until(() => whole() === before).catch(() =>
        expect({ command, now: whole() }).toEqual({ command, now: before }),
      );
    };
    sh(
      "ip route add 10.99.0.0/24 via 172.20.0.12; ip neigh add 172.20.0.77 lladdr 02:00:00:00:00:77 dev eth0",
    );
    await back("ip route del 10.244.0.16/29 proto 142");
    await back("bridge fdb del 66:00:00:00:00:03 dev vxlan.margay dst 172.20.9.13 self");
    await back("ip neigh del 10.244.0.16 dev vxlan.margay");
    await back("ip neigh replace 10.244.0.24 lladdr 02:00:00:00:00:99 dev vxlan.margay nud permanent");
    await back("bridge fdb add 02:00:00:00:00:98 dev vxlan.margay dst 172.20.0.98 self");
    await back("ip addr flush dev vxlan.margay scope global");
    await back("ip link set vxlan.margay mtu 1000");
    await back("ip link set vxlan.margay down");
    await back("ip link del vxlan.margay");
    expect(lines(sh("ip route show 10.99.0.0/24; ip neigh show 172.20.0.77"))).toEqual([
      "10.99.0.0/24 via 172.20.0.12 dev eth0",
      "172.20.0.77 dev eth0 lladdr 02:00:00:00:00:77 PERMANENT",
    ]);
    sh("ip route del 10.99.0.0/24; ip neigh del 172.20.0.77 dev eth0");
  });

  test("a node that goes takes its entries along, one that borrows gets its own route", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    await put(store, "IPAMBlock", "10.244.0.16-29", {
      ...{
        cidr: "10.244.0.16/29",
        affinity: "host:n2",
        affinityClaimTime: "2026-11-22T00:00:00Z",
        sequenceNumber: 2,
      },
      allocations: { 3: { handle: "h", sequence: 1, attributes: { node: "n3" } } },
      unallocated: [],
    });
    const borrowed = "10.244.0.19 via 10.244.0.24 dev vxlan.margay metric 1023 onlink";
    await settled([...THROUGH_TUNNEL, borrowed]);
    for (const key of [
      keyOf("Node", "n3"),
      keyOf("BlockAffinity", "n3-10.244.0.24-29"),
      keyOf("BlockAffinity", "n3-fd00:10:244::300-122"),
      keyOf("IPAMBlock", "10.244.0.16-29"),
    ])
      await store.delete(key);
    await settled(THROUGH_TUNNEL.filter((line) => !/0\.24\/|300/.test(line)));
    expect(forwarding().some((line) => line.includes(":03"))).toBe(false);
    expect(neighbours().some((line) => line.includes(":03"))).toBe(false);
  });

  test("VNI, port and MTU are followed; the uplink's MTU too", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    await put(store, "FelixConfiguration", "default", { vxlanVNI: 7, vxlanPort: 8472 });
    await until(() => /vxlan id 7 .*dstport 8472/.test(device()));
    await settled(THROUGH_TUNNEL);
    expect(forwarding()).toHaveLength(4);
    sh("ip link set eth0 mtu 1400");
    await until(() => device().includes("mtu 1350 "));
    sh("ip link set eth0 mtu 1600");
    await until(() => device().includes("mtu 1550 "));
    await put(store, "FelixConfiguration", "default", { vxlanMTU: 1300 });
    await until(() => device().includes("mtu 1300 "));
  });

  test("the node's address is on lo: the device fits the way out, not lo, and follows it", async () => {
    sh("ip addr add 192.0.2.1/32 dev lo; ip route add default via 172.20.0.1 dev eth0");
    try {
      const store = await cluster("Always");
      await put(store, "Node", "n1", { bgp: { ipv4Address: "192.0.2.1/32" } });
      await start(store);
      await until(() => /mtu 1550 .*vxlan id 4096 local 192.0.2.1 /s.test(device()));
      sh("ip link set eth0 mtu 1400");
      await until(() => device().includes("mtu 1350 "));
    } finally {
      sh("ip link set eth0 mtu 1600; ip route del default; ip addr del 192.0.2.1/32 dev lo");
    }
  });

  test("checksums by the node itself where those below cannot: same device, and back", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    expect(await checksumOffload("vxlan.margay")).toBe(true);
    const [index] = device().split(":");
    const offload = async (is: boolean) => {
      for (const name of ["vxlan.margay", "vxlan-v6.margay"])
        await until(async () => (await checksumOffload(name)) === is);
    };
    await put(store, "FelixConfiguration", "default", {
      featureDetectOverride: "SNATFullyRandom=true, ChecksumOffloadBroken=true",
    });
    await offload(false);
    await setChecksumOffload("vxlan.margay", { on: true });
    sh("ip link set vxlan.margay mtu 1400"); // the kernel tells nobody of features, but of this
    await offload(false);
    await put(store, "FelixConfiguration", "default", {});
    await offload(true);
    expect(device().split(":")[0]).toBe(index);
    await settled(THROUGH_TUNNEL);
  });

  test("switched off, all of it goes, once BGP's routes had their time", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    const begun = performance.now();
    await put(store, "IPPool", "four", four("Never"));
    await put(store, "IPPool", "six", six("Never"));
    await until(() => toNodes().length < 4);
    expect(performance.now() - begun).toBeGreaterThan(HANDOVER_MS);
    await settled([]);
    expect(device()).not.toBe(""); // others may still send into it
    await until(() => device() === "" && device("vxlan-v6.margay") === "");
    await until(async () => {
      const { spec } = (await resources(store, "Node").get("n1")) ?? {};
      return !/VXLAN|vxlan/.test(JSON.stringify(spec));
    });
    const blocks = await resources(store, "IPAMBlock").list();
    expect(blocks.flatMap((block) => Object.values(block.spec.allocations))).toEqual([]);
  });

  test("a restart finds all as it should be and touches nothing", async () => {
    const store = await cluster("Always");
    await start(store);
    await settled(THROUGH_TUNNEL);
    await running?.stop();
    const before = device();
    const context = await start(store);
    await until(() => context.events("in-sync").length > 0);
    await pause(300);
    expect(device()).toBe(before); // its index too: not made anew
    expect(context.events("overlay-applied")).toEqual([]);
    await settled(THROUGH_TUNNEL);
  });

  test("programClusterRoutes: plain routes to neighbours without any tunnel", async () => {
    const store = await cluster("Never");
    await put(store, "FelixConfiguration", "default", { programClusterRoutes: "Enabled" });
    await start(store);
    await settled([
      "10.244.0.16/29 via 172.20.0.12 dev eth0 metric 1023",
      "fd00:10:244::200/122 via fd00:172:20::12 dev eth0 metric 1023",
    ]);
    expect(device()).toBe("");
  });

  test("a pool that gives tunnels no address: said, and plain routes are there all the same", async () => {
    const store = await cluster("CrossSubnet");
    await put(store, "IPPool", "four", { ...four("CrossSubnet"), allowedUses: ["Workload"] });
    await put(store, "IPPool", "six", { ...six("CrossSubnet"), allowedUses: ["Workload"] });
    const context = await start(store);
    await settled([
      "10.244.0.16/29 via 172.20.0.12 dev eth0 metric 1023",
      "fd00:10:244::200/122 via fd00:172:20::12 dev eth0 metric 1023",
    ]);
    await until(() => context.events("overlay-failed").length > 0);
  });
});
