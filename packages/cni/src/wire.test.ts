import { execFileSync } from "node:child_process";
import { createSocket, type SocketOptions } from "node:dgram";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { hostPrefix, parseAddress } from "@margay/net";
import {
  addRoutes,
  createVeth,
  deleteNamespace,
  inNamespace,
  linkByName,
  listAddresses,
  listLinks,
  Netlink,
  NetlinkError,
  newNamespace,
  readSysctl,
} from "@margay/netlink";
import { unshared } from "@margay/testing";
import type { Wiring } from "./deps.ts";
import { unwirer } from "./unwirer.ts";
import { unwireInside, wire } from "./wire.ts";
import { WiringThread } from "./wiring-thread.ts";

const POD = "/run/netns/pod";
const WIRING: Wiring = {
  ...{ hostInterface: "cali0123456789a", netns: POD, ifname: "eth0", mtu: 1450 },
  mac: "02:00:00:00:00:07",
  owner: { network: "net", containerId: "c1", ifname: "eth0" },
  addresses: [parseAddress("10.244.0.5"), parseAddress("fd00:10:244::5")],
};

const run = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });
const inPod = (command: string): string => inNamespace(POD, () => run(command));
/** Node.js binds at once only when it need not look names up: the socket is of the namespace where that happens. */
const lookup = ((
  host: string,
  _options: unknown,
  done: (error: null, host: string, family: number) => void,
) => done(null, host, 4)) as SocketOptions["lookup"];
const fail = (why: string) => {
  throw new Error(why);
};
/** Lines, trimmed, without what differs from run to run. */
const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim().replace(/\s+/g, " "))
    .filter(Boolean);

/** The node's route to the pod: the agent's business, needed here for a packet. */
async function routePod(nl: Netlink): Promise<void> {
  for (const address of WIRING.addresses) {
    const route = {
      dst: hostPrefix(address),
      protocol: 142,
      type: "unicast",
      nexthops: [{ dev: WIRING.hostInterface }],
    } as const;
    expect(await addRoutes(nl, [route])).toEqual([]);
  }
}

unshared(import.meta.url, () => {
  let nl: Netlink;
  let unwire: (hostInterface: string) => Promise<void>;
  beforeAll(() => {
    run("ip address add 192.0.2.1/32 dev lo && ip -6 address add 2001:db8::1/128 dev lo nodad");
    nl = Netlink.open();
    unwire = unwirer(nl);
  });
  afterAll(() => nl.close());
  afterEach(async () => {
    await unwire(WIRING.hostInterface);
    deleteNamespace(POD);
  });

  test("the pod has its addresses, both default routes, permanent gateways, and loopback", async () => {
    newNamespace(POD);
    await wire(nl, WIRING);
    expect(
      lines(inPod("ip -o address show scope global")).map((line) => line.split(" ").slice(1, 4).join(" ")),
    ).toEqual(["eth0 inet 10.244.0.5/32", "eth0 inet6 fd00:10:244::5/128"]);
    expect(lines(inPod("ip route; ip -6 route show default"))).toEqual([
      "default via 169.254.1.1 dev eth0",
      "169.254.1.1 dev eth0 scope link",
      "default via fe80::ecee:eeff:feee:eeee dev eth0 metric 1024 pref medium",
    ]);
    expect(lines(inPod("ip neigh show nud permanent"))).toEqual([
      "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT",
      "fe80::ecee:eeff:feee:eeee dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT",
    ]);
    expect(inPod("ip -o link show eth0")).toMatch(
      new RegExp(`mtu 1450 .*state UP .*link/ether ${WIRING.mac}`),
    );
    expect(inPod("ip -o -6 address show tentative")).toBe("");
    expect(inPod("ip -o link show lo")).toMatch(/LOOPBACK,UP/);
  });

  test("the node's end: MAC, up, settings of this interface only, the pod's addresses permanent neighbours", async () => {
    newNamespace(POD);
    // What makes it a gateway (proxy_arp, forwarding ...) the agent sets before the route: its tests hold that.
    const of = (dev: string) =>
      ["accept_ra", "accept_dad", "disable_ipv6"].map((name) => readSysctl(`net.ipv6.conf.${dev}.${name}`));
    const before = ["all", "default", "lo"].map(of);
    await wire(nl, WIRING);
    const dev = WIRING.hostInterface;
    expect(await linkByName(nl, dev)).toMatchObject({
      up: true,
      mac: "ee:ee:ee:ee:ee:ee",
      mtu: 1450,
      kind: "veth",
    });
    expect(of(WIRING.hostInterface)).toEqual(["0", "0", "0"]);
    expect(["all", "default", "lo"].map(of)).toEqual(before);
    expect(lines(run(`ip neigh show dev ${dev} nud permanent`))).toEqual([
      `10.244.0.5 lladdr ${WIRING.mac} PERMANENT`,
      `fd00:10:244::5 lladdr ${WIRING.mac} PERMANENT`,
    ]);
    expect((await listAddresses(nl, dev)).filter(({ address }) => address.family === 4)).toEqual([]);
  });

  test("packets pass at once, both ways and both families", async () => {
    newNamespace(POD);
    await wire(nl, WIRING);
    await routePod(nl);
    for (const target of ["192.0.2.1", "2001:db8::1"]) inPod(`ping -c 1 -W 1 ${target}`);
    for (const target of ["10.244.0.5", "fd00:10:244::5"]) run(`ping -c 1 -W 1 ${target}`);
  });

  test("settings asked for are there when it is up; one that this kernel does not have is left out", async () => {
    newNamespace(POD);
    const ipv4 = `net.ipv4.conf.${WIRING.hostInterface}`;
    const settings = new Map([
      ["net.ipv4.conf.none.forwarding", "1"],
      [`${ipv4}.proxy_arp`, "1"],
      [`${ipv4}.rp_filter`, "2"],
    ]);
    await wire(nl, { ...WIRING, settings });
    expect(["proxy_arp", "rp_filter"].map((name) => readSysctl(`${ipv4}.${name}`))).toEqual(["1", "2"]);
  });

  test("a thread makes it just so, and its refusals keep their kinds", async () => {
    const thread = new WiringThread(fail);
    const refused = (wiring: Wiring) => thread.wire(wiring).catch((error) => error);
    expect(await refused(WIRING)).toMatchObject({ name: "CniError", code: "unknown-container" });
    newNamespace(POD);
    await thread.wire(WIRING);
    await routePod(nl);
    inPod("ping -c 1 -W 1 192.0.2.1");
    await unwire(WIRING.hostInterface);
    inPod("ip link add eth0 type bridge");
    const error = await refused(WIRING);
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({ code: "EEXIST", request: expect.stringContaining("cali0123456789a") });
    await thread.close();
  });

  test("the first packet of each of thirty pods arrives, however soon it is sent", async () => {
    const thread = new WiringThread(fail);
    const heard: string[] = [];
    const node = createSocket("udp4").on("message", (text) => heard.push(`${text}`));
    await new Promise<void>((bound) => node.bind(9, "192.0.2.1", bound));
    for (let i = 1; i <= 30; i++) {
      newNamespace(POD);
      const pod = inNamespace(POD, () => createSocket({ type: "udp4", lookup }).bind(0, "0.0.0.0"));
      await thread.wire(WIRING);
      await routePod(nl);
      pod.send(`${i}`, 9, "192.0.2.1");
      await Promise.race([once(node, "message"), setTimeout(10_000, undefined, { ref: false })]);
      pod.close();
      await unwire(WIRING.hostInterface);
      deleteNamespace(POD);
    }
    expect(heard).toEqual(Array.from({ length: 30 }, (_, i) => `${i + 1}`));
    node.close();
    await thread.close();
  });

  test("a thread that dies is told; who waits for it is to try again, and another follows", async () => {
    const died: string[] = [];
    const file = "/run/dies.mjs";
    writeFileSync(
      file,
      `import { parentPort } from "node:worker_threads"; parentPort.on("message", () => process.exit(1));`,
    );
    const thread = new WiringThread((why) => died.push(why), { file, execArgv: [] });
    const refused = () => thread.wire(WIRING).catch((error) => error);
    for (let i = 0; i < 2; i++)
      expect(await refused()).toMatchObject({ name: "CniError", code: "try-again-later" });
    await thread.close();
    expect(await refused()).toMatchObject({
      code: "try-again-later",
      message: expect.stringContaining("closed"),
    });
    expect(died).toEqual(["it has ended", "it has ended"]);
  });

  test("a namespace in which new interfaces are without IPv6; the name has a dot", async () => {
    newNamespace(POD);
    inPod("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
    await wire(nl, { ...WIRING, ifname: "eth0.5" });
    expect(inPod("cat /proc/sys/net/ipv6/conf/eth0.5/disable_ipv6").trim()).toBe("0");
    expect(lines(inPod("ip -6 route show default"))).toHaveLength(1);
  });

  test("its link-local address is the one that the kernel would have made, and the only one", async () => {
    newNamespace(POD);
    await wire(nl, WIRING);
    const own = lines(inPod("ip -o -6 address show dev eth0 scope link")).map((line) => line.split(" ")[3]);
    expect(own).toEqual(["fe80::ff:fe00:7/64"]);
  });

  test("the node's end is made in a group", async () => {
    newNamespace(POD);
    await wire(nl, { ...WIRING, group: 0x6d000007 });
    expect(await linkByName(nl, WIRING.hostInterface)).toMatchObject({ group: 0x6d000007, up: true });
  });

  test("an IPv4-only pod", async () => {
    newNamespace(POD);
    await wire(nl, { ...WIRING, addresses: WIRING.addresses.slice(0, 1) });
    expect(lines(inPod("ip -6 route show default"))).toEqual([]);
  });

  test("repeated: the veth is made anew, and works", async () => {
    newNamespace(POD);
    await wire(nl, WIRING);
    await wire(nl, WIRING);
    await routePod(nl);
    inPod("ping -c 1 -W 1 192.0.2.1");
  });

  test("a namespace that does not exist: unknown container, nothing made", async () => {
    await expect(wire(nl, WIRING)).rejects.toMatchObject({ code: "unknown-container" });
    expect(await linkByName(nl, WIRING.hostInterface)).toBeUndefined();
  });

  test("a name taken in the pod by something else: refused, nothing left", async () => {
    newNamespace(POD);
    inPod("ip link add eth0 type bridge");
    await expect(wire(nl, WIRING)).rejects.toMatchObject({ code: "EEXIST" });
    expect(await linkByName(nl, WIRING.hostInterface)).toBeUndefined();
  });

  test("the kernel refuses the node's end when the pod's is done: nothing left at either", async () => {
    newNamespace(POD);
    const owner = { ...WIRING.owner, network: "x".repeat(300) }; // an alias has 255 bytes
    await expect(wire(nl, { ...WIRING, owner })).rejects.toMatchObject({ name: "NetlinkError" });
    expect(await linkByName(nl, WIRING.hostInterface)).toBeUndefined();
    expect(inPod("ip -br link | grep -v ^lo || true")).toBe("");
  });

  test("unwire from either side, and again; what is gone, or not a veth, is left in peace", async () => {
    newNamespace(POD);
    await wire(nl, WIRING);
    await unwireInside({ netns: POD, ifname: "eth0" });
    expect(await linkByName(nl, WIRING.hostInterface)).toBeUndefined();
    await unwireInside({ netns: POD, ifname: "eth0" });
    await unwireInside({ netns: POD, ifname: "lo" });
    await unwireInside({ netns: "/run/netns/none", ifname: "eth0" });
    writeFileSync("/run/netns/left-behind", ""); // the file of a namespace that was unmounted
    await unwireInside({ netns: "/run/netns/left-behind", ifname: "eth0" });
    rmSync("/run/netns/left-behind");
    await wire(nl, WIRING);
    for (let i = 0; i < 2; i++) await unwire(WIRING.hostInterface);
    expect(lines(inPod("ip -o link")).map((line) => line.split(": ")[1])).toEqual(["lo"]);
  });

  test("many are removed together, and nothing else with them", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `cali${i}`);
    for (const name of [...names, "other"])
      await createVeth(nl, { name, mtu: 1500, peer: { name: `p-${name}` } });
    await Promise.all([...names, "cali-none"].map((name) => unwire(name)));
    expect((await listLinks(nl)).map(({ name }) => name).toSorted()).toEqual(["lo", "other", "p-other"]);
    await unwire("other");
  });
});
