import { execSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import type { Node } from "@margay/api";
import { Netlink } from "@margay/netlink";
import { unshared, until } from "@margay/testing";
import { PodMtu } from "./pod-mtu.ts";
import { uplink } from "./uplink.ts";

unshared(import.meta.url, () => {
  const node = (ipv4Address: string) =>
    ({
      apiVersion: "margay.dev/v1",
      kind: "Node",
      metadata: { name: "n1" },
      spec: { bgp: { ipv4Address } },
    }) as Node; // all that is read

  test("the way out comes after the agent's start: pods follow it", async () => {
    execSync("ip link set lo up; ip addr add 192.0.2.1/32 dev lo");
    const found: number[] = [];
    const netlink = Netlink.open({
      groups: ["route4"],
      onNotification: (news) => news.kind === "route" && mtu.heedRoute(news.route),
    });
    const mtu = new PodMtu({
      ...{ netlink, self: () => node("192.0.2.1/32"), overhead: () => 50, endpoints: () => [] },
      onUplink: () => found.push(mtu.bytes),
      onFollowed: () => {},
      onError: (error) => {
        throw error;
      },
    });
    try {
      execSync(`ip link add up0 mtu 1400 type veth peer name up1; ip link set up0 up; ip link set up1 up
        ip addr add 172.20.0.11/24 dev up0; ip route add default via 172.20.0.1`);
      await until(() => mtu.bytes === 1350);
      expect(found).toHaveLength(1);
    } finally {
      netlink.close();
      execSync("ip link del up0; ip addr del 192.0.2.1/32 dev lo");
    }
  });

  test.each([
    ["the interface that has the node's address", "172.20.0.11/24", "up0 1500"],
    ["on lo: the way to a gateway with the least MTU, not 65536 bytes", "192.0.2.1/32", "up2 1400"],
    ["nowhere: not known", "192.0.2.9/32", undefined],
  ])("%s", async (_why, address, found) => {
    execSync(`
      ip link set lo up; ip addr add 192.0.2.1/32 dev lo;
      ip link add up0 type veth peer name up1; ip link add up2 mtu 1400 type veth peer name up3; ip link add small mtu 1300 type veth peer name big
      for dev in up0 up1 up2 up3 small big; do ip link set $dev up; done
      ip addr add 172.20.0.11/24 dev up0; ip addr add 172.21.0.11/24 dev up2; ip addr add 172.22.0.11/24 dev small
      ip link add vxlan.margay mtu 1350 type vxlan id 4096 dstport 4789 local 192.0.2.1; ip link set vxlan.margay up
      ip route add 10.244.1.0/26 via 10.244.1.0 dev vxlan.margay onlink
      ip route add default nexthop via 172.20.0.1 dev up0 nexthop via 172.21.0.1 dev up2`);
    const netlink = Netlink.open();
    try {
      const link = await uplink(netlink, node(address));
      expect(link && `${link.name} ${link.mtu}`).toBe(found);
    } finally {
      netlink.close();
      execSync(
        "ip link del up0; ip link del up2; ip link del small; ip link del vxlan.margay; ip addr del 192.0.2.1/32 dev lo",
      );
    }
  });
});
