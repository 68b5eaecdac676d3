import { describe, expect, test } from "@jest/globals";
import { formatPrefix, type Prefix, parseAddress } from "@margay/net";
import fc from "fast-check";
import type { Nexthop, Route } from "./route.ts";
import { type Shared, Sharing } from "./sharing.ts";

const nth = (n: number): Prefix => ({ family: 4, bits: 0x0a_00_00_00n + (BigInt(n) << 8n), length: 24 });
const hop = (n: number): Nexthop => ({ via: parseAddress(`172.20.0.${n}`), dev: "eth0" });
const route = (n: number, hops: readonly number[], metric = 7): Route => ({
  ...{ dst: nth(n), protocol: 143, type: "unicast", metric, nexthops: hops.map(hop) },
});
const keyed = (routes: readonly Route[]) => new Map(routes.map((r) => [formatPrefix(r.dst), r]));
const words = (hops: readonly Nexthop[] = []) =>
  hops
    .map(({ via, weight }) => `${via?.bits}*${weight ?? 1}`)
    .toSorted()
    .join();

/** A kernel: routes, and objects that they lean on. `writes` counts messages about routes, `changes` those about objects. */
class World {
  readonly routes = new Map<string, Route>();
  readonly objects = new Map<number, readonly Nexthop[]>();
  readonly stale = new Set<number>();
  readonly sharing: Sharing;
  writes = 0;
  changes = 0;
  #lastId = 0;

  constructor(from: number) {
    this.sharing = new Sharing(from);
  }

  hops(key: string): string | undefined {
    const there = this.routes.get(key);
    return there && words(there.nhid === undefined ? there.nexthops : this.objects.get(there.nhid));
  }

  /** As SharedHops does. `refuses`: the kernel takes no object that has this next hop. `seen` is called after each message. */
  put(wanted: ReadonlyMap<string, Route>, refuses?: number, seen = () => {}): void {
    const plan = this.sharing.plan({
      wanted,
      held: (key) => this.routes.get(key),
      heldKeys: () => this.routes.keys(),
      stale: this.stale,
      freeId: () => ++this.#lastId,
    });
    this.stale.clear();
    const refused = (object: Shared): boolean => {
      if (refuses !== undefined && words(object.hops).includes(`${hop(refuses).via?.bits}*`)) return true;
      this.objects.set(object.id, object.hops);
      this.sharing.says(object);
      this.changes++;
      seen();
      return false;
    };
    const failed = new Set(plan.make.filter(refused).map(({ id }) => id));
    const write = ({ nhid, ...plain }: Route) => {
      this.writes++;
      this.#hold(nhid === undefined || failed.has(nhid) ? plain : { ...plain, nhid });
      seen();
    };
    plan.before.forEach(write);
    const left = plan.change.filter(refused);
    for (const { id } of left) failed.add(id);
    for (const { id, along } of plan.change)
      if (!failed.has(id)) for (const one of along.values()) this.#hold({ ...one, nhid: id });
    plan.after.forEach(write);
    for (const { along } of left) for (const one of along.values()) write(one);
    this.#collect();
  }

  remove(keys: readonly string[]): void {
    for (const key of keys) {
      this.sharing.moved(this.routes.get(key), undefined);
      this.routes.delete(key);
    }
    this.#collect();
  }

  #hold(now: Route): void {
    const key = formatPrefix(now.dst);
    this.sharing.moved(this.routes.get(key), now);
    this.routes.set(key, now);
  }

  /** With an object its routes would go. */
  #collect(): void {
    for (const id of this.sharing.unused) {
      expect([...this.routes.values()].filter(({ nhid }) => nhid === id)).toEqual([]);
      this.sharing.gone(id);
      this.objects.delete(id);
    }
  }
}

const keys = fc.nat(11);
const sets = fc.subarray([1, 2, 3, 4], { minLength: 1 });
const edit = fc.record({ n: keys, hops: fc.option(sets), metric: fc.constantFrom(7, 7, 7, 8) });
const step = fc.record({
  edits: fc.array(edit, { maxLength: 12 }),
  all: fc.option(sets),
  refuses: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined, freq: 5 }),
  spoiled: fc.option(fc.nat(5), { freq: 4 }),
});

test("whatever is wanted, refused, or changed by others: each route has what is wanted, and meanwhile nothing but what it had or is to have", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const world = new World(3);
      for (const { edits, all, refuses, spoiled } of steps) {
        const [spoilt] = [...world.objects].slice(spoiled ?? 99);
        if (spoilt) {
          world.objects.set(spoilt[0], [hop(9)]);
          world.stale.add(spoilt[0]);
        }
        const wanted = new Map<string, Route>();
        const gone: string[] = [];
        for (const { n, hops, metric } of edits)
          if (hops) wanted.set(formatPrefix(nth(n)), route(n, hops, metric));
          else gone.push(formatPrefix(nth(n)));
        if (all)
          for (const [key, { dst, metric }] of world.routes)
            wanted.set(key, { ...route(0, all, metric), dst });
        const before = new Map([...world.routes.keys()].map((key) => [key, world.hops(key)]));
        const after = new Map([...world.routes].map(([key, r]) => [key, words(r.nexthops)]));
        for (const [key, r] of wanted) after.set(key, words(r.nexthops));
        const strays = new Set<string | undefined>();
        world.put(wanted, refuses, () => {
          for (const key of world.routes.keys())
            if (![before.get(key), after.get(key)].includes(world.hops(key))) strays.add(world.hops(key));
        });
        expect([...strays]).toEqual([]);
        for (const [key, hops] of after) expect([key, world.hops(key)]).toEqual([key, hops]);
        for (const [key, r] of wanted) expect(world.routes.get(key)?.metric).toBe(r.metric);
        world.remove(gone.filter((key) => world.routes.has(key)));
        for (const key of world.routes.keys()) expect(world.hops(key)).toBe(after.get(key));
      }
    }),
  );
});

describe("of 5,000 routes by two routers", () => {
  const many = 5000;
  const all = (hops: readonly number[], from = 0, to = many) =>
    keyed(Array.from({ length: to - from }, (_, n) => route(from + n, hops)));
  const routes = () => {
    const world = new World(1024);
    world.put(all([1, 2]));
    const cost = (wanted: ReadonlyMap<string, Route>) => {
      world.writes = 0;
      world.changes = 0;
      world.put(wanted);
      return { writes: world.writes, changes: world.changes };
    };
    return { world, cost };
  };

  test("one goes, and comes back: one message each", () => {
    const { world, cost } = routes();
    expect(cost(all([1]))).toEqual({ writes: 0, changes: 1 });
    expect(cost(all([2, 1]))).toEqual({ writes: 0, changes: 1 });
    expect(cost(all([1, 2]))).toEqual({ writes: many, changes: 0 }); // the same, in another order: written as asked, and nothing changes
    expect(world.objects.size).toBe(1);
  });

  test("it is said in two parts: no more is written than the smaller", () => {
    const { world, cost } = routes();
    expect(cost(all([1], 0, 3000))).toEqual({ writes: 2000, changes: 2 }); // those that still go by both have an object of their own
    expect(cost(all([1], 3000))).toEqual({ writes: 0, changes: 1 });
    expect(cost(all([1, 2]))).toEqual({ writes: 0, changes: 2 });
    expect([...world.routes.keys()].filter((key) => world.hops(key) !== world.hops("10.0.0.0/24"))).toEqual(
      [],
    );
  });

  test("most go one way and the others another: each of these is written once", () => {
    const { world, cost } = routes();
    expect(cost(new Map([...all([1], 0, 3000), ...all([3], 3000)]))).toEqual({ writes: 2000, changes: 2 });
    expect(world.objects.size).toBe(2);
  });

  test("a few that want something else have it one by one; those that follow lean on what is there", () => {
    const { world, cost } = routes();
    expect(cost(all([3], 0, 100))).toEqual({ writes: 100, changes: 0 });
    expect(cost(all([1, 2], many, many + 1))).toEqual({ writes: 1, changes: 0 });
    expect(world.objects.size).toBe(1);
    expect([...world.routes.values()].filter(({ nhid }) => nhid === undefined)).toHaveLength(100);
  });

  test("many that come one at a time: from the 1,024th on they share", () => {
    const world = new World(1024);
    for (let n = 0; n < 1100; n++) world.put(keyed([route(n, [1])]));
    expect([...world.routes.values()].filter(({ nhid }) => nhid !== undefined)).toHaveLength(1100 - 1023);
  });

  test.each<[string, Partial<Route>]>([
    ["no gateway", { nexthops: [{ dev: "eth0" }] }],
    ["a source", { source: parseAddress("172.20.0.1") }],
    ["another type", { type: "unreachable", nexthops: [] }],
  ])("routes with %s lean on nothing", (_what, change) => {
    const { world, cost } = routes();
    const wanted = new Map([...all([1])].map(([key, one]) => [key, { ...one, ...change }]));
    expect(cost(wanted)).toEqual({ writes: many, changes: 0 });
    expect(world.objects.size).toBe(0); // nobody needs it any more
  });

  test("another metric is another route: none goes along", () => {
    const { cost } = routes();
    const wanted = new Map([...all([1])].map(([key, one]) => [key, { ...one, metric: 9 }]));
    expect(cost(wanted)).toEqual({ writes: many, changes: 1 });
  });
});
