import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import {
  addAddress,
  addRoutes,
  createVeth,
  linkByName,
  listAddresses,
  listNeighbours,
  Netlink,
  newNamespace,
  type Route,
  setLink,
  setNeighbour,
} from "./index.ts";
import { unshared } from "./testing/unshared.ts";

const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
const ours = 142;
const route = (dst: string, rest: Partial<Route> = {}): Route => ({
  dst: parsePrefix(dst),
  protocol: ours,
  type: "unicast",
  nexthops: [],
  ...rest,
});

unshared(import.meta.url, () => {
  const nl = Netlink.open();

  test("a veth is made with its peer in place, addressed, and carries traffic", async () => {
    newNamespace("/run/netns/pod");
    const mac = "ee:ee:ee:ee:ee:ee";
    await createVeth(nl, {
      name: "cali1",
      mtu: 1400,
      mac,
      up: true,
      peer: { name: "eth0", namespace: "/run/netns/pod", mac: "02:00:00:00:00:01" },
    });
    expect(await linkByName(nl, "cali1")).toMatchObject({ kind: "veth", mtu: 1400, mac, up: true });
    const pod = Netlink.open({ namespace: "/run/netns/pod" });
    await setLink(pod, "eth0", { up: true });
    expect(await linkByName(pod, "eth0")).toMatchObject({ mtu: 1400, mac: "02:00:00:00:00:01", up: true });
    await addAddress(pod, "eth0", { address: parseAddress("10.0.0.2"), length: 32 });
    await addAddress(pod, "eth0", { address: parseAddress("fd00::2"), length: 128, nodad: true });
    await setNeighbour(pod, "eth0", { address: parseAddress("169.254.1.1"), mac });
    const gateway = parseAddress("169.254.1.1");
    const refused = await addRoutes(pod, [
      route("169.254.1.1/32", { nexthops: [{ dev: "eth0" }] }),
      route("0.0.0.0/0", { nexthops: [{ via: gateway, dev: "eth0" }] }),
    ]);
    expect(refused).toEqual([]);
    await addAddress(nl, "cali1", { address: parseAddress("10.0.0.1"), length: 32 });
    expect(await addRoutes(nl, [route("10.0.0.2/32", { nexthops: [{ dev: "cali1" }] })])).toEqual([]);
    expect(ip("netns", "exec", "pod", "ping", "-c1", "-W1", "10.0.0.1")).toContain("1 received");
    expect(await listAddresses(pod, "eth0")).toContainEqual(
      expect.objectContaining({ address: parseAddress("fd00::2"), length: 128, nodad: true }),
    );
    expect(await listNeighbours(pod)).toContainEqual(
      expect.objectContaining({ address: gateway, mac, state: "permanent" }),
    );
    pod.close();
  });
});
