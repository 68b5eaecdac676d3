import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { unshared } from "@margay/testing";
import { Netlink, waysTo } from "./index.ts";

const sh = (script: string) => execFileSync("sh", ["-ec", script]);

unshared(import.meta.url, () => {
  test("the way to each address is the kernel's own choice; where none leads there is none", async () => {
    sh(`ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up
        ip route add 10.0.0.0/8 dev d0; ip route add 10.1.0.0/16 dev d1; ip route add unreachable 10.2.0.0/16
        ip -6 route add fd00::/16 dev d0; ip -6 route add fd00:1::/32 dev d1; ip addr add 10.1.0.1/32 dev d1`);
    const netlink = Netlink.open();
    const addresses = ["10.9.0.1", "10.1.0.9", "10.2.0.1", "192.0.2.1", "10.1.0.1", "fd00::1", "fd00:1::1"];
    const ways = await waysTo(netlink, addresses.map(parseAddress));
    netlink.close();
    expect(Object.fromEntries(ways)).toEqual({
      ...{ "10.9.0.1": "d0", "10.1.0.9": "d1", "10.1.0.1": "lo" },
      ...{ "fd00::1": "d0", "fd00:1::1": "d1" },
    });
  });
});
