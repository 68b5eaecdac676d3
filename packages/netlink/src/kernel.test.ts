import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { reconcile, Tracked } from "@margay/reconcile";
import { unshared, until } from "@margay/testing";
import {
  addAddress,
  addRoutes,
  allNodesSocket,
  type Connection,
  checksumOffload,
  closeSocket,
  connectionsOf,
  createVeth,
  createVxlan,
  deleteConnections,
  deleteForwarding,
  deleteLink,
  deleteLinks,
  deleteNamespace,
  deleteRoutes,
  forgetConnections,
  formatRoute,
  inNamespace,
  linkByName,
  listAddresses,
  listForwarding,
  listLinks,
  listNeighbours,
  listRoutes,
  markConnections,
  Netlink,
  NetlinkError,
  type Notification,
  newNamespace,
  type RefusedRoute,
  type Route,
  readSysctl,
  routeTarget,
  sameRoute,
  sameVxlan,
  sendDatagram,
  setChecksumOffload,
  setForwarding,
  setLink,
  setNeighbour,
  socketIn,
  sysctl,
  tcpMd5,
} from "./index.ts";

const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
const lines = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
const ours = 142;
const address = parseAddress;
const route = (dst: string, rest: Partial<Route> = {}): Route => ({
  dst: parsePrefix(dst),
  protocol: ours,
  type: "unicast",
  nexthops: [],
  ...rest,
});
const via = (gateway: string, dev = "eth0") => ({ via: address(gateway), dev });
const byDst = (routes: readonly Route[]) => new Map(routes.map((r) => [formatPrefix(r.dst), r]));

unshared(import.meta.url, () => {
  const nl = Netlink.open();

  beforeAll(async () => {
    await createVeth(nl, { name: "eth0", mtu: 1500, up: true, peer: { name: "wire" } });
    await setLink(nl, "wire", { up: true });
    await addAddress(nl, "eth0", { address: address("172.20.0.11"), length: 24 });
    await addAddress(nl, "eth0", { address: address("fd00:172:20::11"), length: 64, nodad: true });
  });
  afterAll(() => nl.close());

  test("a veth is made with its peer in place, addressed, and carries traffic", async () => {
    newNamespace("/run/netns/pod");
    const mac = "ee:ee:ee:ee:ee:ee";
    const peer = { name: "eth0", namespace: "/run/netns/pod", mac: "02:00:00:00:00:01" };
    await createVeth(nl, { name: "cali1", mtu: 1400, mac, up: true, peer });
    const alias = "who made it";
    await setLink(nl, "cali1", { alias });
    expect(await linkByName(nl, "cali1")).toMatchObject({ kind: "veth", mtu: 1400, mac, up: true, alias });
    const pod = Netlink.open({ namespace: "/run/netns/pod" });
    await setLink(pod, "eth0", { up: true });
    expect(await linkByName(pod, "eth0")).toMatchObject({ mtu: 1400, mac: "02:00:00:00:00:01", up: true });
    await addAddress(pod, "eth0", { address: address("10.0.0.2"), length: 32 });
    await addAddress(pod, "eth0", { address: address("fd00::2"), length: 128, nodad: true });
    await setNeighbour(pod, "eth0", { address: address("169.254.1.1"), mac });
    const refused = await addRoutes(pod, [
      route("169.254.1.1/32", { nexthops: [{ dev: "eth0" }] }),
      route("0.0.0.0/0", { nexthops: [via("169.254.1.1")] }),
    ]);
    expect(refused).toEqual([]);
    await addAddress(nl, "cali1", { address: address("10.0.0.1"), length: 32 });
    expect(await addRoutes(nl, [route("10.0.0.2/32", { nexthops: [{ dev: "cali1" }] })])).toEqual([]);
    expect(ip("netns", "exec", "pod", "ping", "-c1", "-W1", "10.0.0.1")).toContain("1 received");
    expect(await listAddresses(pod, "eth0")).toContainEqual(
      expect.objectContaining({ address: address("fd00::2"), length: 128, nodad: true }),
    );
    expect(await listNeighbours(pod)).toContainEqual(
      expect.objectContaining({ address: address("169.254.1.1"), mac, state: "permanent" }),
    );
    pod.close();
    expect(await deleteLink(nl, "cali1")).toBe(true);
    expect(await deleteLink(nl, "cali1")).toBe(false);
    deleteNamespace("/run/netns/pod");
    expect(existsSync("/run/netns/pod")).toBe(false);
  });

  test("requests in the background are answered like others, in their order, and keep no other work waiting", async () => {
    const background = Netlink.open({ inBackground: true });
    const refused = createVeth(background, { name: "lo", mtu: 1500, peer: { name: "x" } });
    const made = createVeth(background, { name: "b0", mtu: 1500, peer: { name: "b1" } });
    const gone = deleteLinks(background, ["b0", "never"]);
    await expect(refused).rejects.toMatchObject({ code: "EEXIST" });
    expect(await made).toMatchObject({ name: "b0", kind: "veth" });
    await gone;
    expect((await listLinks(background)).map(({ name }) => name)).not.toContain("b0");
    background.close(); // after what was asked before it
  });

  test("a failed veth says what was asked and leaves nothing", async () => {
    const taken = createVeth(nl, { name: "eth0", mtu: 1500, peer: { name: "x" } });
    await expect(taken).rejects.toThrow("create veth eth0 with peer x: EEXIST");
    const gone = createVeth(nl, { name: "a", mtu: 1500, peer: { name: "x", namespace: "/run/netns/none" } });
    await expect(gone).rejects.toMatchObject({ code: "ENOENT" });
    expect(await linkByName(nl, "x")).toBeUndefined();
  });

  test("a vxlan is made as said, told apart from another, and forwards where its database says", async () => {
    const own = address("172.20.0.11");
    const settings = { id: 4096, port: 4789, local: own, learning: false };
    const mac = "66:00:00:00:00:01";
    await createVxlan(nl, { name: "vx", mtu: 1450, mac, ...settings });
    const made = await linkByName(nl, "vx");
    expect(made).toMatchObject({ kind: "vxlan", mtu: 1450, mac, vxlan: settings });
    expect(ip("-d", "link", "show", "vx")).toMatch(
      /vxlan id 4096 local 172.20.0.11 .* dstport 4789 nolearning/,
    );
    expect(sameVxlan(made?.vxlan ?? { ...settings, id: 0 }, settings)).toBe(true);
    expect(sameVxlan({ ...settings, port: 8472 }, settings)).toBe(false);
    const again = createVxlan(nl, { name: "vx2", mtu: 1450, mac, ...settings });
    await expect(again).rejects.toMatchObject({ code: "EEXIST" });
    const six = { ...settings, local: address("fd00:172:20::11") };
    await createVxlan(nl, { name: "vx6", mtu: 1430, mac, ...six }); // the same VNI and port: another family
    expect((await linkByName(nl, "vx6"))?.vxlan).toEqual(six);

    expect(await checksumOffload("vx")).toBe(true);
    await setChecksumOffload("vx", { on: false });
    expect([await checksumOffload("vx"), await checksumOffload("vx6")]).toEqual([false, true]);
    await setChecksumOffload("vx", { on: true });
    expect(await checksumOffload("vx")).toBe(true);
    await expect(checksumOffload("vx9")).rejects.toMatchObject({ code: "ENODEV" });

    const told: Notification[] = [];
    const listener = Netlink.open({ groups: ["neigh"], onNotification: (n) => told.push(n) });
    const far = { mac: "66:00:00:00:00:02", to: address("172.20.0.12") };
    await setForwarding(nl, "vx", { ...far, to: address("172.20.0.99") });
    await setForwarding(nl, "vx", far); // replaced, not a second
    await setForwarding(nl, "vx6", { mac: far.mac, to: address("fd00::12") });
    expect(await listForwarding(nl, "vx")).toEqual([far]);
    const shown = execFileSync("bridge", ["fdb", "show", "dev", "vx"], { encoding: "utf8" });
    expect(shown.trim()).toBe("66:00:00:00:00:02 dst 172.20.0.12 self permanent");
    await deleteForwarding(nl, "vx", far);
    await deleteForwarding(nl, "vx", far); // gone already
    expect(await listForwarding(nl, "vx")).toEqual([]);
    await until(() => told.some((n) => n.kind === "forwarding" && n.change === "deleted"));
    expect(told).toContainEqual(
      expect.objectContaining({
        kind: "forwarding",
        change: "deleted",
        forwarding: { ...far, index: made?.index },
      }),
    );
    listener.close();
    await deleteLink(nl, "vx");
    await deleteLink(nl, "vx6");
    await expect(listForwarding(nl, "vx")).rejects.toMatchObject({ code: "ENODEV" });
  });

  test("proxy neighbours are a table of their own", async () => {
    await setNeighbour(nl, "eth0", { address: address("fd00::9"), proxy: true });
    expect(await listNeighbours(nl, { proxy: true })).toMatchObject([
      { address: address("fd00::9"), proxy: true },
    ]);
    expect(ip("-6", "neigh", "show", "proxy").trim()).toBe("fd00::9 dev eth0 proxy");
  });

  const shapes: Route[] = [
    route("10.1.0.0/26", { nexthops: [via("172.20.0.12")] }),
    route("10.1.0.64/26", {
      nexthops: [via("172.20.0.12"), { ...via("172.20.0.13"), weight: 3 }],
      metric: 7,
    }),
    route("10.1.0.128/26", { type: "blackhole" }),
    route("10.1.0.192/26", { nexthops: [{ ...via("192.0.2.1"), onlink: true }] }),
    route("10.1.1.7/32", { nexthops: [{ dev: "eth0" }], scope: "link", source: address("172.20.0.11") }),
    route("10.1.2.0/24", { nexthops: [via("fd00:172:20::12")] }),
    route("0.0.0.0/0", { nexthops: [via("172.20.0.2")], table: 1000 }),
    route("fd00:1::/122", { nexthops: [via("fd00:172:20::12")] }),
    route("fd00:2::/122", { nexthops: [via("fd00:172:20::12"), via("fd00:172:20::13")] }),
    route("fd00:3::/122", { type: "blackhole" }),
    route("fd00:4::7/128", { nexthops: [{ dev: "eth0" }] }),
    route("fd00:5::/64", { type: "unreachable", metric: 5 }),
  ];

  test("every shape of route reads back as it was written, and as ip(8) shows it", async () => {
    expect(await addRoutes(nl, shapes)).toEqual([]);
    const listed = byDst(await listRoutes(nl, { protocol: ours }));
    for (const shape of shapes)
      expect({ shape, same: sameRoute(listed.get(formatPrefix(shape.dst)) ?? shape, shape) }).toEqual({
        shape,
        same: true,
      });
    expect(listed.size).toBe(shapes.length);
    expect(lines(ip("route", "show", "proto", "142"))).toEqual([
      "10.1.0.0/26 via 172.20.0.12 dev eth0",
      "10.1.0.64/26 metric 7",
      "nexthop via 172.20.0.12 dev eth0 weight 1",
      "nexthop via 172.20.0.13 dev eth0 weight 3",
      "blackhole 10.1.0.128/26",
      "10.1.0.192/26 via 192.0.2.1 dev eth0 onlink",
      "10.1.1.7 dev eth0 scope link src 172.20.0.11",
      "10.1.2.0/24 via inet6 fd00:172:20::12 dev eth0",
    ]);
    expect(lines(ip("route", "show", "table", "1000"))).toEqual([
      "default via 172.20.0.2 dev eth0 proto 142",
    ]);
    expect(await listRoutes(nl, { protocol: ours, table: 1000 })).toHaveLength(1);
    expect(await listRoutes(nl, { protocol: ours, family: 6 })).toHaveLength(5);
    expect(await deleteRoutes(nl, shapes)).toEqual([]);
    expect(await deleteRoutes(nl, shapes)).toEqual([]); // already gone is success
    expect(await listRoutes(nl, { protocol: ours })).toEqual([]);
  });

  test("a refused route says why in the kernel's words, and the others are in", async () => {
    const refused = await addRoutes(nl, [
      route("10.2.0.0/26", { nexthops: [via("198.51.100.1")] }),
      route("10.2.0.64/26", { nexthops: [via("172.20.0.12", "eth9")] }),
      route("10.2.0.128/26", { nexthops: [via("172.20.0.12")] }),
    ]);
    expect(refused.map(({ error }) => error.message).sort()).toEqual([
      "add route 10.2.0.0/26 via 198.51.100.1 dev eth0: ENETUNREACH Nexthop has invalid gateway",
      "add route 10.2.0.64/26 via 172.20.0.12 dev eth9: ENODEV no link eth9",
    ]);
    expect((await listRoutes(nl, { protocol: ours })).map(formatRoute)).toEqual([
      "10.2.0.128/26 via 172.20.0.12 dev eth0",
    ]);
    ip("route", "flush", "proto", "142");
  });

  test("the target owns its protocol's routes and never a foreign one, even in the same place", async () => {
    ip("route", "add", "10.3.0.0/26", "via", "172.20.0.99", "proto", "static");
    ip("-6", "route", "add", "fd00:3::/64", "via", "fd00:172:20::99", "proto", "static");
    ip("route", "add", "10.3.1.0/26", "via", "172.20.0.99", "proto", "bird");
    const refused: RefusedRoute[] = [];
    const tracked = new Tracked(routeTarget(nl, { protocol: ours, onRefused: (r) => void refused.push(r) }));
    const wanted = [
      route("10.3.0.0/26", { nexthops: [via("172.20.0.12")] }),
      route("10.3.0.64/26", { nexthops: [via("172.20.0.12")] }),
      route("10.3.0.128/26", { type: "blackhole" }),
      route("fd00:3::/64", { nexthops: [via("fd00:172:20::12")] }),
    ];
    await reconcile([tracked.to(byDst(wanted))]);
    const inPlace = "EEXIST another protocol's route is in its place";
    expect(refused.map(({ error }) => error.message)).toEqual([
      `add route 10.3.0.0/26 via 172.20.0.12 dev eth0: ${inPlace}`,
      `add route fd00:3::/64 via fd00:172:20::12 dev eth0: ${inPlace}`,
    ]);
    const foreign = ["10.3.0.0/26 via 172.20.0.99 dev eth0 proto static"];
    expect(lines(ip("route", "show", "10.3.0.0/26"))).toEqual(foreign);
    expect(lines(ip("route", "show", "proto", "142"))).toEqual([
      "10.3.0.64/26 via 172.20.0.12 dev eth0",
      "blackhole 10.3.0.128/26",
    ]);

    // the foreign route goes: ours takes its place once the world is read again
    ip("route", "del", "10.3.0.0/26");
    tracked.distrust();
    await reconcile([tracked.to(byDst(wanted))]);
    expect(lines(ip("route", "show", "10.3.0.0/26"))).toEqual([
      "10.3.0.0/26 via 172.20.0.12 dev eth0 proto 142",
    ]);

    // changes replace in place; a new metric leaves one route; what is not wanted goes
    const changed = [
      route("10.3.0.0/26", { type: "blackhole" }),
      route("10.3.0.64/26", { nexthops: [via("172.20.0.13")], metric: 9 }),
    ];
    await reconcile([tracked.to(byDst(changed))]);
    expect(lines(ip("route", "show", "proto", "142"))).toEqual([
      "blackhole 10.3.0.0/26",
      "10.3.0.64/26 via 172.20.0.13 dev eth0 metric 9",
    ]);
    await reconcile([tracked.to(new Map())]);
    expect(lines(ip("route", "show", "proto", "142"))).toEqual([]);
    expect(lines(ip("route", "show", "proto", "bird"))).toEqual(["10.3.1.0/26 via 172.20.0.99 dev eth0"]);
    ip("route", "flush", "proto", "bird");
    ip("-6", "route", "flush", "proto", "static");
  });

  test("a restarted owner replaces what it left, and tidies a second metric", async () => {
    ip("route", "add", "10.4.0.0/26", "via", "172.20.0.12", "proto", "142");
    ip("route", "add", "10.4.0.0/26", "via", "172.20.0.12", "proto", "142", "metric", "5");
    const tracked = new Tracked(routeTarget(nl, { protocol: ours }));
    const wanted = byDst([route("10.4.0.0/26", { nexthops: [via("172.20.0.12")] })]);
    await reconcile([tracked.to(wanted)]);
    expect(lines(ip("route", "show", "proto", "142"))).toEqual(["10.4.0.0/26 via 172.20.0.12 dev eth0"]);
    expect(await reconcile([tracked.to(wanted)])).toEqual([{ target: "routes", put: 0, removed: 0 }]);
    await reconcile([tracked.to(new Map())]);
  });

  test("without onRefused a put throws after having tried all", async () => {
    const target = routeTarget(nl, { protocol: ours });
    const wanted = byDst([
      route("10.5.0.0/26", { nexthops: [{ dev: "eth9" }] }),
      route("10.5.0.64/26", { nexthops: [{ dev: "eth0" }] }),
    ]);
    await expect(target.put(wanted)).rejects.toThrow(NetlinkError);
    expect([...(await target.list()).keys()]).toEqual(["10.5.0.64/26"]);
    await target.remove(["10.5.0.64/26"]);
  });

  test("notifications are typed, name the interface, and know our own changes", async () => {
    const seen: Notification[] = [];
    const watch = Netlink.open({
      groups: ["link", "route4", "route6", "addr4", "neigh"],
      onNotification: (n) => seen.push(n),
    });
    await watch.links(); // our port is known from the first answer on
    await addRoutes(watch, [route("10.6.0.0/26", { nexthops: [{ dev: "eth0" }] })]);
    ip("route", "del", "10.6.0.0/26");
    ip("link", "add", "later", "type", "bridge");
    ip("link", "del", "later");
    await until(() => seen.some((n) => n.kind === "link" && n.change === "deleted"));
    const routes = seen
      .flatMap((n) => (n.kind === "route" ? [n] : []))
      .filter(({ route: { dst } }) => dst.family === 4) // eth0 may get its link-local address just now
      .map((n) => [n.change, n.own, formatRoute(n.route)]);
    expect(routes).toEqual([
      ["new", true, "10.6.0.0/26 dev eth0"],
      ["deleted", false, "10.6.0.0/26 dev eth0"],
    ]);
    const links = seen.flatMap((n) => (n.kind === "link" ? [[n.change, n.link.name]] : []));
    expect(links).toEqual([
      ["new", "later"],
      ["deleted", "later"],
    ]);
    watch.close();
  });

  test("own changes are not notified where they are not asked for, those of others are", async () => {
    const heard: string[] = [];
    const one = Netlink.open({
      groups: ["route4"],
      onNotification: (n) => n.kind === "route" && heard.push(`${n.change} ${formatPrefix(n.route.dst)}`),
    });
    await one.ignoreOwn();
    await addRoutes(one, [route("10.6.1.0/26", { nexthops: [{ dev: "eth0" }] })]);
    await addRoutes(nl, [route("10.6.2.0/26", { nexthops: [{ dev: "eth0" }] })]);
    await deleteRoutes(one, [route("10.6.1.0/26"), route("10.6.2.0/26")]);
    ip("route", "add", "10.6.3.0/26", "dev", "eth0");
    ip("route", "del", "10.6.3.0/26");
    await until(() => heard.length >= 3);
    expect(heard).toEqual(["new 10.6.2.0/26", "new 10.6.3.0/26", "deleted 10.6.3.0/26"]);
    one.close();
  });

  test("an overflow is told, and notifications go on after it", async () => {
    let overflows = 0;
    const seen: Notification[] = [];
    const watch = Netlink.open({
      groups: ["route4"],
      onNotification: (n) => seen.push(n),
      onOverflow: () => overflows++,
    });
    const many = Array.from({ length: 30_000 }, (_, i) => `10.${64 + (i >> 8)}.${i & 255}.0/24`);
    const batch = (verb: string) => many.map((dst) => `route ${verb} blackhole ${dst} proto 142`).join("\n");
    for (const verb of ["add", "del"]) execFileSync("ip", ["-batch", "-"], { input: batch(verb) }); // this process sleeps meanwhile
    await until(() => overflows > 0);
    seen.length = 0;
    ip("route", "add", "blackhole", "10.7.0.0/24", "proto", "142");
    await until(() =>
      seen.some((n) => n.kind === "route" && formatRoute(n.route) === "blackhole 10.7.0.0/24"),
    );
    ip("route", "flush", "proto", "142");
    watch.close();
  });

  test("sysctls are written in their namespace, with dots in interface names", async () => {
    ip("link", "add", "eth0.7", "type", "bridge");
    sysctl("net.ipv4.conf.eth0/7.proxy_arp", 1);
    expect(readSysctl("net.ipv4.conf.eth0/7.proxy_arp")).toBe("1");
    newNamespace("/run/netns/ctl");
    sysctl("net.ipv4.ip_forward", 1, "/run/netns/ctl");
    expect([readSysctl("net.ipv4.ip_forward", "/run/netns/ctl"), readSysctl("net.ipv4.ip_forward")]).toEqual([
      "1",
      "0",
    ]);
    inNamespace("/run/netns/ctl", () => sysctl("net.ipv4.ip_forward", 0)); // not those held open of the own one
    expect(readSysctl("net.ipv4.ip_forward", "/run/netns/ctl")).toBe("0");
    expect(() => sysctl("net.ipv4.conf.none.proxy_arp", 1)).toThrow(
      "set sysctl net.ipv4.conf.none.proxy_arp=1: ENOENT",
    );
    await deleteLink(nl, "eth0.7");
  });

  test("inNamespace comes back after a throw and refuses to be asynchronous", () => {
    newNamespace("/run/netns/back");
    const fail = () => {
      throw new Error("inside");
    };
    expect(() => inNamespace("/run/netns/back", fail)).toThrow("inside");
    expect(() => inNamespace("/run/netns/back", async () => 1)).toThrow("synchronous");
    expect(ip("-br", "link", "show", "eth0")).toContain("eth0");
    expect(() => newNamespace("/run/netns/back")).toThrow("EEXIST");
    expect(() => inNamespace("/run/netns/none", () => 1)).toThrow(
      "open network namespace /run/netns/none: ENOENT",
    );
  });

  test("TCP-MD5: only who has the key gets in, and a live session can change its key", async () => {
    newNamespace("/run/netns/bgp");
    await createVeth(nl, {
      name: "b0",
      mtu: 1500,
      up: true,
      peer: { name: "b1", namespace: "/run/netns/bgp" },
    });
    await addAddress(nl, "b0", { address: address("192.0.2.1"), length: 24 });
    const far = Netlink.open({ namespace: "/run/netns/bgp" });
    await setLink(far, "b1", { up: true });
    await addAddress(far, "b1", { address: address("192.0.2.2"), length: 24 });
    const [near, peer] = [address("192.0.2.1"), address("192.0.2.2")];
    const listen = socketIn("/run/netns/bgp", {
      family: 4,
      type: "stream",
      options: {
        reuse: true,
        bindToDevice: "b1",
        md5: [{ peer: near, key: "secret" }],
        bind: { address: peer, port: 1179 },
      },
    });
    const accepted: Socket[] = [];
    const server = createServer((socket) => accepted.push(socket));
    await once(server.listen({ fd: listen }), "listening");
    const dial = (key?: string) => {
      const options = { ...(key && { md5: [{ peer, key }] }), ttl: 255, minTtl: 1 };
      const fd = socketIn(undefined, { family: 4, type: "stream", options });
      return { fd, socket: new Socket({ fd }).connect(1179, "192.0.2.2") };
    };
    const stranger = connect(1179, "192.0.2.2").on("error", () => undefined);
    const { fd, socket } = dial("secret");
    await once(socket, "connect");
    await until(() => accepted.length === 1);
    expect(stranger.connecting).toBe(true);
    stranger.destroy();

    const exchange = async (text: string) => {
      const answer = once(accepted[0]!, "data"); // length checked above
      socket.write(text);
      return String((await answer)[0]);
    };
    expect(await exchange("old key")).toBe("old key");
    tcpMd5((accepted[0] as unknown as { _handle: { fd: number } })._handle.fd, near, "changed"); // node has no public name for it
    tcpMd5(fd, peer, "changed");
    expect(await exchange("new key")).toBe("new key");
    expect(() => tcpMd5(fd, peer, "x".repeat(81))).toThrow("at most 80");
    expect(() => tcpMd5(fd, address("192.0.2.77"), undefined)).toThrow(
      "clear TCP-MD5 key of 192.0.2.77: ENOENT",
    );
    for (const s of [socket, ...accepted]) s.destroy();
    await new Promise((resolve) => server.close(resolve));
    far.close();
  });

  test("a router advertisement: who sent it is a router among the other's neighbours, who forwards itself", async () => {
    ip("link", "add", "r0", "type", "veth", "peer", "name", "r1", "netns", "bgp");
    ip("address", "add", "fe80::1/64", "dev", "r0", "nodad");
    inNamespace("/run/netns/bgp", () => sysctl("net.ipv6.conf.all.forwarding", "1"));
    ip("link", "set", "r0", "up");
    ip("-n", "bgp", "link", "set", "r1", "up");
    const told: Notification[] = [];
    const far = Netlink.open({
      ...{ namespace: "/run/netns/bgp", groups: ["neigh"], onNotification: (n) => told.push(n) },
    });
    const { index, mac } = (await linkByName(nl, "r0"))!; // just made
    const fd = allNodesSocket(index);
    const said = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // RFC 4861 §4.2
    // Without this option the kernel knows no way to the sender, and forgets it.
    const advertisement = Uint8Array.of(
      ...said,
      1,
      1,
      ...mac!.split(":").map((part) => Number.parseInt(part, 16)),
    );
    const fe80 = { address: address("fe80::1"), router: true };
    await until(() => {
      sendDatagram(fd, advertisement); // again and again: the link comes up by and by
      return told.some((n) => n.kind === "neighbour" && n.neighbour.router === true);
    });
    expect(told).toContainEqual(expect.objectContaining({ neighbour: expect.objectContaining(fe80) }));
    expect(await listNeighbours(far)).toContainEqual(expect.objectContaining(fe80));
    closeSocket(fd);
    far.close();
    ip("link", "delete", "r0");
  });

  test("minTtl drops what came over a router", async () => {
    const fd = socketIn(undefined, {
      family: 4,
      type: "stream",
      options: { minTtl: 255, bind: { address: address("127.0.0.1"), port: 1180 } },
    });
    const server = createServer((socket) => socket.end());
    await once(server.listen({ fd }), "listening");
    const far = connect(1180, "127.0.0.1").on("error", () => undefined); // TTL 64
    const near = new Socket({
      fd: socketIn(undefined, { family: 4, type: "stream", options: { ttl: 255 } }),
    }).connect(1180, "127.0.0.1");
    await once(near, "connect");
    expect(far.connecting).toBe(true);
    for (const socket of [far, near]) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  test("connections of an address are forgotten, those of others are not", async () => {
    const tool = (...args: string[]) => execFileSync("conntrack", args, { encoding: "utf8", stdio: "pipe" });
    const flow = (from: string, to: string) =>
      tool("-I", "-p", "udp", "-s", from, "-d", to, "--sport", "1", "--dport", "2", "-t", "60");
    flow("10.0.0.7", "10.0.0.8");
    flow("10.0.0.9", "10.0.0.7");
    flow("10.0.0.9", "10.0.0.8");
    flow("fd00::7", "fd00::8");
    flow("fd00::9", "fd00::8");
    const toOutside = ["-s", "10.0.0.9", "-d", "192.0.2.1", "--sport", "3", "--dport", "4"];
    tool("-I", "-p", "udp", ...toOutside, "-t", "60", "-g", "10.0.0.7"); // translated to it
    expect(await forgetConnections([address("10.0.0.7"), address("fd00::7")])).toBeUndefined();
    const left = lines(tool("-L")).map((line) => /src=\S+ dst=\S+/.exec(line)?.[0]);
    expect(left.sort()).toEqual(["src=10.0.0.9 dst=10.0.0.8", "src=fd00::9 dst=fd00::8"]);
    expect(await forgetConnections([address("10.0.0.7")])).toBeUndefined(); // nothing there is success
  });

  test("connections of an address are told, marked and deleted one by one", async () => {
    const tool = (...args: string[]) => execFileSync("conntrack", args, { encoding: "utf8", stdio: "pipe" });
    const insert = (from: string, to: string, ...more: string[]) =>
      tool("-I", "-s", from, "-d", to, "-t", "60", ...more);
    const tcp = ["-p", "tcp", "--sport", "1000", "--dport", "80", "--state", "ESTABLISHED"];
    insert("10.9.0.1", "10.9.0.2", ...tcp, "-m", "0x1");
    insert("fd09::1", "fd09::2", ...tcp);
    insert("10.9.0.1", "192.0.2.1", "-p", "udp", "--sport", "5", "--dport", "53", "-g", "192.0.2.9");
    insert("10.9.0.8", "10.9.0.9", ...tcp);
    const all = [address("10.9.0.1"), address("fd09::2")];
    const ports = { protocol: 6, sourcePort: 1000, destinationPort: 80 };
    const found = await connectionsOf(all);
    const order = (c: Connection) => `${c.original.source.family} ${c.original.protocol}`;
    expect(found.toSorted((a, b) => order(a).localeCompare(order(b)))).toMatchObject([
      {
        original: { source: address("10.9.0.1"), protocol: 17, sourcePort: 5, destinationPort: 53 },
        reply: { source: address("192.0.2.9"), protocol: 17, sourcePort: 53 }, // translated
      },
      { original: { source: address("10.9.0.1"), destination: address("10.9.0.2"), ...ports }, mark: 1 },
      { original: { source: address("fd09::1"), destination: address("fd09::2"), ...ports }, mark: 0 },
    ]);
    const overTcp = found.filter(({ original }) => original.protocol === 6);
    expect(await markConnections(overTcp, 0x40000)).toBeUndefined();
    expect((await connectionsOf(all)).map(({ mark }) => mark).sort()).toEqual([0, 0x40000, 0x40001]);
    expect(await deleteConnections(overTcp)).toBeUndefined();
    expect(await markConnections(overTcp, 1)).toBeUndefined(); // gone meanwhile: not made anew
    expect((await connectionsOf(all)).map(({ original }) => original.protocol)).toEqual([17]);
    expect(await connectionsOf([address("10.9.0.9")])).toHaveLength(1);
  });

  test("100,000 routes: printed, not asserted", async () => {
    const routes = Array.from({ length: 100_000 }, (_, i) =>
      route(`10.${128 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}/30`, { nexthops: [via("172.20.0.12")] }),
    );
    const clock = async (what: string, fn: () => Promise<unknown>) => {
      const start = performance.now();
      await fn();
      process.stderr.write(`netlink: ${what} in ${Math.round(performance.now() - start)} ms\n`);
    };
    const target = routeTarget(nl, { protocol: ours });
    const wanted = byDst(routes);
    await clock("100,000 routes put", () => target.put(wanted));
    await clock("100,000 routes listed", async () => expect((await target.list()).size).toBe(100_000));
    await clock("100,000 routes replaced", () => target.put(wanted));
    await clock("100,000 routes removed", () => target.remove([...wanted.keys()]));
    expect((await target.list()).size).toBe(0);
  });
});
