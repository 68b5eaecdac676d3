import { expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { NetlinkError } from "./error.ts";
import type { Netlink } from "./netlink.ts";
import type { Route } from "./route.ts";
import type { RefusedRoute } from "./routes.ts";
import { SharedHops } from "./shared-hops.ts";

const names = { name: () => "eth0", index: () => 2 };
const via = (text: string, n: number): Route => ({
  ...{ dst: parsePrefix(`10.0.${n}.0/24`), protocol: 143, type: "unicast" },
  nexthops: [{ via: parseAddress(text), dev: "eth0" }],
});

test("a kernel without nexthop objects (Linux before 5.3) is said once, and all routes name their next hops", async () => {
  const dump = () => Promise.reject(new NetlinkError("EOPNOTSUPP", "list nexthop objects"));
  const nl = { names: async () => names, requests: { dump } } as unknown as Netlink; // no more is asked of it
  let said = 0;
  const shared = new SharedHops(nl, { protocol: 143, from: 1, onUnsupported: () => void said++ });
  const route = via("172.20.0.2", 0);
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

/** Routes in a kernel that takes whatever it is told, but for routes by 172.20.0.9, and objects after `refuses`. */
class World {
  readonly held = new Map<string, Route>();
  /** With what each message about objects is answered. */
  refuses: NetlinkError | undefined;
  readonly #shared: SharedHops;

  constructor() {
    const dump = async () => [];
    const transact = async (messages: readonly unknown[]) =>
      this.refuses ? messages.map((_, index) => ({ index, error: this.refuses })) : [];
    const linksNamed = async () => [{ name: "eth0", index: 2 }];
    const nl = { names: async () => names, linksNamed, requests: { dump, transact } } as unknown as Netlink; // no more is asked of it
    this.#shared = new SharedHops(nl, { protocol: 143, from: 1 });
  }

  put(...routes: Route[]): Promise<readonly RefusedRoute[]> {
    return this.#shared.put(new Map(routes.map((route) => [formatPrefix(route.dst), route])), {
      held: (key) => this.held.get(key),
      heldKeys: () => this.held.keys(),
      took: (_, route) => this.#hold(route),
      write: async (all) => {
        const error = new NetlinkError("EINVAL", "add route");
        const isRefused = ({ nexthops: [hop] }: Route) => hop?.via?.bits === parseAddress("172.20.0.9").bits;
        for (const route of all) if (!isRefused(route)) this.#hold(route);
        return all.filter(isRefused).map((route) => ({ route, error }));
      },
    });
  }

  #hold(route: Route): void {
    const key = formatPrefix(route.dst);
    this.#shared.moved(this.held.get(key), route);
    this.held.set(key, route);
  }

  /** The objects that routes lean on. */
  get ids(): (number | undefined)[] {
    return [...this.held.values()].map(({ nhid }) => nhid);
  }
}

test("a route that is refused what it wants does not go along with its object: the others leave it one by one", async () => {
  const world = new World();
  await world.put(...[0, 1, 2].map((n) => via("172.20.0.2", n)));
  const [before] = world.ids;
  const refused = await world.put(via("172.20.0.9", 0), via("172.20.0.3", 1), via("172.20.0.3", 2));
  expect(refused.map(({ route }) => formatPrefix(route.dst))).toEqual(["10.0.0.0/24"]);
  expect(world.ids).toEqual([before, undefined, undefined]);
  expect([...world.held.values()].map(({ nexthops }) => nexthops)).toEqual([
    via("172.20.0.2", 0).nexthops,
    ...[1, 2].map((n) => via("172.20.0.3", n).nexthops),
  ]);
});

test("an id that proves to be somebody's: the routes name their next hops, and the next object has another", async () => {
  const world = new World();
  world.refuses = new NetlinkError("EEXIST", "add nexthop object");
  await world.put(via("172.20.0.2", 0));
  world.refuses = undefined;
  await world.put(via("172.20.0.3", 1));
  expect(world.ids).toEqual([undefined, 0x8f00_0002]);
});
