import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { Loop } from "./loop.ts";
import { Parts } from "./parts.ts";
import { reconcile, Tracked } from "./reconciler.ts";
import { plan, type Target } from "./target.ts";

/** A world that is a map; `log` keeps the order of writes over all targets, `fail` names the next write to break. */
class World implements Target<string> {
  readonly name: string;
  readonly held = new Map<string, string>();
  readonly log: string[];
  lists = 0;
  fail = false;
  constructor(name: string, log: string[] = []) {
    this.name = name;
    this.log = log;
  }
  async list() {
    this.lists++;
    return new Map(this.held);
  }
  async put(wanted: ReadonlyMap<string, string>) {
    this.log.push(`put ${this.name}`);
    for (const [k, v] of wanted) {
      this.held.set(k, v); // half a batch is written before the failure
      if (this.fail) throw new Error("broken");
    }
  }
  async remove(keys: readonly string[]) {
    this.log.push(`remove ${this.name}`);
    for (const k of keys) this.held.delete(k);
  }
  same = (a: string, b: string) => a === b;
}

const map = fc
  .dictionary(fc.constantFrom("a", "b", "c", "d"), fc.constantFrom("1", "2"))
  .map((o) => new Map(Object.entries(o)));

test("a plan applied to what is gives what is wanted, and touches nothing that was right", () => {
  fc.assert(
    fc.property(map, map, (actual, wanted) => {
      const { put, remove } = plan(actual, wanted, (a, b) => a === b);
      for (const [k, v] of put) expect(actual.get(k)).not.toBe(v);
      const after = new Map([...actual, ...put]);
      for (const k of remove) after.delete(k);
      expect(after).toEqual(wanted);
    }),
  );
});

test("sets appear before the chains that name them and go after them", async () => {
  const log: string[] = [];
  const [sets, chains] = [new World("sets", log), new World("chains", log)];
  sets.held.set("old", "1");
  chains.held.set("old", "1");
  await reconcile([
    new Tracked(sets).to(new Map([["new", "1"]])),
    new Tracked(chains).to(new Map([["new", "1"]])),
  ]);
  expect(log).toEqual(["put sets", "put chains", "remove chains", "remove sets"]);
});

test("the world is listed once, then believed; distrust and a failed write make it be listed again", async () => {
  const world = new World("w");
  const tracked = new Tracked(world);
  await reconcile([tracked.to(new Map([["a", "1"]]))]);
  await reconcile([tracked.to(new Map([["a", "2"]]))]);
  expect(world.lists).toBe(1);
  world.held.delete("a"); // someone else's hand
  expect(await reconcile([tracked.to(new Map([["a", "2"]]))])).toEqual([{ target: "w", put: 0, removed: 0 }]);
  tracked.distrust();
  expect(await reconcile([tracked.to(new Map([["a", "2"]]))])).toEqual([{ target: "w", put: 1, removed: 0 }]);
  world.fail = true;
  await expect(
    reconcile([
      tracked.to(
        new Map([
          ["a", "3"],
          ["b", "3"],
        ]),
      ),
    ]),
  ).rejects.toThrow("broken");
  world.fail = false;
  await reconcile([
    tracked.to(
      new Map([
        ["a", "3"],
        ["b", "3"],
      ]),
    ),
  ]);
  expect(world.held).toEqual(
    new Map([
      ["a", "3"],
      ["b", "3"],
    ]),
  );
  expect(world.lists).toBe(3);
});

/** Some of these objects in each state, so that parts stay the same, change, move away and come back. */
const pool = fc.array(map, { minLength: 2, maxLength: 4 });
const steps = fc.array(
  fc.record({
    picks: fc.array(fc.nat(3), { minLength: 3, maxLength: 3 }),
    fails: fc.boolean(),
    doubts: fc.boolean(),
  }),
  { minLength: 1, maxLength: 6 },
);

test("a desired state in parts ends as the same in one map, whatever failed or was doubted on the way", async () => {
  await fc.assert(
    fc.asyncProperty(pool, steps, async (objects, course) => {
      const log: string[] = [];
      const [world, other] = [new World("parts", log), new World("other", log)];
      const [tracked, follower] = [new Tracked(world), new Tracked(other)];
      for (const { picks, fails, doubts } of course) {
        const parts = picks.map((pick, i): [string, ReadonlyMap<string, string>] => [
          `${i}`,
          suffixed(objects[pick % objects.length] ?? new Map(), i),
        ]);
        other.fail = fails; // the pass then ends between the puts and the removes
        const wanted = new Parts(new Map(parts));
        if (doubts) tracked.distrust();
        await reconcile([
          tracked.to(wanted),
          follower.to(new Map([["x", `${Math.sign(log.length)}${picks}`]])),
        ]).catch(() => {});
        if (!fails) expect(new Map(world.held)).toEqual(new Map(wanted));
      }
    }),
  );
});

const suffixes = new WeakMap<object, Map<number, ReadonlyMap<string, string>>>();

/** The same object for the same map and place. */
function suffixed(entries: ReadonlyMap<string, string>, place: number): ReadonlyMap<string, string> {
  const all = suffixes.get(entries) ?? new Map<number, ReadonlyMap<string, string>>();
  suffixes.set(entries, all);
  const known = all.get(place) ?? new Map([...entries].map(([key, value]) => [`${key}${place}`, value]));
  all.set(place, known);
  return known;
}

test("parts that stayed the same are not compared", async () => {
  const world = new World("w");
  let compared = 0;
  world.same = (a, b) => {
    compared++;
    return a === b;
  };
  const tracked = new Tracked(world);
  const [one, two] = [new Map([["a", "1"]]), new Map([["b", "1"]])];
  await reconcile([
    tracked.to(
      new Parts(
        new Map([
          ["1", one],
          ["2", two],
        ]),
      ),
    ),
  ]);
  await reconcile([
    tracked.to(
      new Parts(
        new Map([
          ["1", one],
          ["2", new Map([["b", "2"]])],
        ]),
      ),
    ),
  ]);
  expect(compared).toBe(1);
  await reconcile([tracked.to(new Parts(new Map([["1", one]])))]);
  expect([...world.held.keys()]).toEqual(["a"]);
});

test("triggers during a pass make exactly one more pass, and passes never overlap", async () => {
  let passes = 0;
  let inside = 0;
  const loop: Loop = new Loop({
    pass: async () => {
      expect(++inside).toBe(1);
      if (++passes === 1) for (let i = 0; i < 5; i++) loop.trigger();
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
    },
    sleep: async () => {},
    onError: () => {},
  });
  loop.trigger();
  loop.trigger();
  await loop.settled();
  expect(passes).toBe(2);
  await loop.stop();
});

test("settled resolves after the pass under way and those that are due, and at once when there is none", async () => {
  let passes = 0;
  const loop = new Loop({
    pass: async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      passes++;
    },
    sleep: async () => {},
    onError: () => {},
  });
  await loop.settled();
  loop.trigger();
  await new Promise((resolve) => setImmediate(resolve)); // the first is under way
  loop.trigger();
  await loop.settled();
  expect(passes).toBe(2);
  await loop.stop();
});

test("failures back off, doubling to the bound, and success starts over", async () => {
  const waits: number[] = [];
  let left = 6;
  const loop = new Loop({
    pass: async () => {
      if (left-- > 0) throw new Error("no");
    },
    sleep: async () => {},
    onError: (_error, ms) => waits.push(ms),
    minBackoffMs: 10,
    maxBackoffMs: 100,
  });
  loop.trigger();
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(waits).toEqual([10, 20, 40, 80, 100, 100]);
  left = 1;
  loop.trigger();
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(waits.at(-1)).toBe(10);
  await loop.stop();
});

test("stop ends a backoff and lets no further pass run", async () => {
  let passes = 0;
  const loop = new Loop({
    pass: async () => {
      passes++;
      throw new Error("no");
    },
    sleep: (_ms, signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve())),
    onError: () => {},
  });
  loop.trigger();
  await new Promise((resolve) => setImmediate(resolve));
  await loop.stop();
  loop.trigger();
  await new Promise((resolve) => setImmediate(resolve));
  expect(passes).toBe(1);
});

test("values that were read, or made anew, and found to be right are compared once, not in every pass after", async () => {
  let compared = 0;
  const world = () => new Map(Array.from({ length: 100 }, (_, i) => [`${i}`, { is: i }]));
  const same = (a: { is: number }, b: { is: number }) => {
    compared++;
    return a.is === b.is;
  };
  const none = async () => {};
  const tracked = new Tracked({ name: "w", list: async () => world(), put: none, remove: none, same });
  const passes = async (wanted: Map<string, { is: number }>) => {
    compared = 0;
    for (let i = 0; i < 3; i++) await reconcile([tracked.to(wanted)]);
    return compared;
  };
  expect(await passes(world())).toBe(100);
  expect(await passes(world())).toBe(100);
});
