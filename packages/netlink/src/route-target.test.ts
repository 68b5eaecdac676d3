import { expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import type { Netlink } from "./netlink.ts";
import type { Route } from "./route.ts";
import { type RouteTarget, routeTarget } from "./route-target.ts";

const route: Route = {
  ...{ dst: parsePrefix("10.0.0.0/24"), protocol: 143, type: "unicast" },
  nexthops: [{ via: parseAddress("172.20.0.2"), dev: "eth0" }],
};

test("an object that somebody changes while the first routes are written on it: all are to be read, none is known to lean on it yet", async () => {
  const heard: ReturnType<RouteTarget["heardObject"]>[] = [];
  let target: RouteTarget;
  const transact = async () => {
    const ids = [0x8f00_0000, 0x8f00_0001]; // of the next hop and of the group
    heard.push(...ids.map((id) => target.heardObject("new", { id, protocol: 143, group: [] })));
    return [];
  };
  const nl = {
    ...{ names: async () => ({ name: () => "eth0", index: () => 2 }), requests: { transact } },
    linksNamed: async () => [{ name: "eth0", index: 2 }],
  } as unknown as Netlink; // no more is asked of it
  target = routeTarget(nl, { protocol: 143, shareFrom: 1 });
  await target.put(new Map([[formatPrefix(route.dst), route]]));
  expect(heard).toContain("all");
});
