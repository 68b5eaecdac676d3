import { expect, test } from "@jest/globals";
import { parseAddress, parsePrefix } from "@margay/net";
import { NetlinkError } from "./error.ts";
import type { Netlink } from "./netlink.ts";
import type { Route } from "./route.ts";
import { SharedHops } from "./shared-hops.ts";

test("a kernel without nexthop objects (Linux before 5.3) is said once, and all routes name their next hops", async () => {
  const names = { name: () => "eth0", index: () => 2 };
  const dump = () => Promise.reject(new NetlinkError("EOPNOTSUPP", "list nexthop objects"));
  const nl = { names: async () => names, requests: { dump } } as unknown as Netlink; // no more is asked of it
  let said = 0;
  const shared = new SharedHops(nl, { protocol: 143, from: 1, onUnsupported: () => void said++ });
  const nexthops = [{ via: parseAddress("172.20.0.2"), dev: "eth0" }];
  const route: Route = { dst: parsePrefix("10.0.0.0/24"), protocol: 143, type: "unicast", nexthops };
  const written: Route[] = [];
  for (let again = 0; again < 2; again++) {
    await shared.read(new Set());
    await shared.put(new Map([["10.0.0.0/24", route]]), {
      held: () => undefined,
      heldKeys: () => [],
      took: () => {},
      write: async (routes) => {
        written.push(...routes);
        return [];
      },
    });
  }
  await shared.collect();
  expect([said, written]).toEqual([1, [route, route]]);
});
