import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { Edited } from "./edited.ts";
import { reconcile, Tracked } from "./reconciler.ts";
import type { Target } from "./target.ts";

/** A world that is a map; knows which keys were written and how many comparisons were made. */
class World implements Target<string> {
  readonly name = "world";
  readonly held = new Map<string, string>();
  written: string[] = [];
  compared = 0;
  breaks: "put" | "remove" | undefined;
  async list() {
    return new Map(this.held);
  }
  async put(wanted: ReadonlyMap<string, string>) {
    for (const [key, value] of wanted) {
      this.written.push(`+${key}`);
      this.held.set(key, value); // the first of a batch is written before it breaks
      if (this.breaks === "put") throw new Error("broken");
    }
  }
  async remove(keys: readonly string[]) {
    for (const key of keys) {
      this.written.push(`-${key}`);
      this.held.delete(key);
      if (this.breaks === "remove") throw new Error("broken");
    }
  }
  same = (a: string, b: string) => {
    this.compared++;
    return a === b;
  };
}

/** Its put fails when it is told to: a pass then ends before the removes of those ahead of it. */
class Follower extends World {
  override async put() {
    if (this.breaks) throw new Error("broken");
  }
}

const key = fc.constantFrom("a", "b", "c", "d", "e");
const value = fc.constantFrom("1", "2");
const edit = fc.record({ key, value: fc.option(value, { nil: undefined }) });
const step = fc.record({
  edits: fc.array(edit, { maxLength: 4 }),
  /** While the pass is under way. */
  late: fc.array(edit, { maxLength: 1 }),
  fails: fc.constantFrom(undefined, undefined, undefined, "put", "remove", "follower"),
  /** What somebody else did, and what became of our knowledge: doubt of these keys, or of all. */
  foreign: fc.array(edit, { maxLength: 2 }),
  distrusts: fc.boolean(),
});

function write(map: Map<string, string>, edits: readonly { key: string; value: string | undefined }[]): void {
  for (const { key, value } of edits)
    if (value === undefined) map.delete(key);
    else map.set(key, value);
}

test("an edited map ends as the same map compared in full, whatever failed, was edited meanwhile or was doubted on the way", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const [world, full, follower] = [new World(), new World(), new Follower()];
      const [tracked, whole, other] = [new Tracked(world), new Tracked(full), new Tracked(follower)];
      const wanted = new Edited<string>();
      let hasFailed = false;
      let count = 0;
      for (const { edits, late, fails, foreign, distrusts } of steps) {
        write(wanted, edits);
        for (const one of [world, full]) {
          one.breaks = fails === "follower" ? undefined : fails;
          one.written = [];
          write(one.held, foreign);
        }
        follower.breaks = fails === "follower" ? "put" : undefined;
        if (foreign.length > 0) whole.distrust();
        if (distrusts) tracked.distrust();
        else tracked.doubt(foreign.map(({ key }) => key));
        const next = new Map([["x", `${count++}`]]);
        const passes = [
          reconcile([tracked.to(wanted), other.to(next)]),
          reconcile([whole.to(new Map(wanted)), new Tracked(follower).to(next)]),
        ];
        const inTime = new Map(wanted);
        const [one, two] = await Promise.allSettled([passes[0], passes[1], editAfterPlan(wanted, late)]);
        const failed = one.status === "rejected" || two.status === "rejected";
        if (!failed) {
          expect(keysOf(world.held)).toEqual(keysOf(inTime));
          // Doubted keys are written again even if they were right; else the very same writes.
          if (foreign.length === 0 && !hasFailed)
            expect(world.written.toSorted()).toEqual(full.written.toSorted());
        }
        hasFailed ||= failed; // from then on the two worlds may hold different halves
      }
      world.breaks = undefined;
      // A last pass with nothing in its way: what came late and what failed is made good.
      await reconcile([tracked.to(wanted)]);
      expect(keysOf(world.held)).toEqual(keysOf(wanted));
    }),
  );
});

const keysOf = (map: ReadonlyMap<string, string>) => Object.fromEntries([...map].toSorted());

/** The plan is made in the first turns of the pass; the writes are under way after them. */
async function editAfterPlan(wanted: Edited<string>, late: Parameters<typeof write>[1]): Promise<void> {
  for (let i = 0; i < 6; i++) await Promise.resolve();
  write(wanted, late);
}

async function filled(n: number) {
  const world = new World();
  const tracked = new Tracked(world);
  const wanted = new Edited<string>();
  for (let i = 0; i < n; i++) wanted.set(`${i}`, "1");
  await reconcile([tracked.to(wanted)]);
  Object.assign(world, { compared: 0, written: [] });
  return { world, tracked, wanted };
}

test("one edit beside many keys costs one comparison", async () => {
  const { world, tracked, wanted } = await filled(5000);
  wanted.set("7", "2");
  wanted.delete("8");
  expect(await reconcile([tracked.to(wanted)])).toEqual([{ target: "world", put: 1, removed: 1 }]);
  expect(world.compared).toBe(1);
  expect(world.written).toEqual(["+7", "-8"]);
});

test("what is believed is not looked at for a doubted key: put if it is wanted, else removed", async () => {
  const { world, tracked } = await filled(3);
  const wanted = new Map([["1", "1"]]);
  await reconcile([tracked.to(wanted)]);
  Object.assign(world, { written: [] });
  tracked.doubt(["1", "9"]);
  await reconcile([tracked.to(wanted)]);
  expect(world.written).toEqual(["+1", "-9"]);
  await reconcile([tracked.to(wanted)]);
  expect(world.written).toEqual(["+1", "-9"]); // written once
});

test("edits are remembered up to as many as there are keys, for one reader", () => {
  const map = new Edited<string>();
  const [one, two] = [{}, {}];
  map.set("a", "1");
  expect(map.take(one)).toBeUndefined(); // never asked before
  map.set("b", "1");
  map.delete("none");
  expect(map.take(one)).toEqual(new Set(["b"]));
  expect(map.take(one)).toEqual(new Set());
  expect(map.take(two)).toBeUndefined();
  expect(map.take(one)).toBeUndefined();
  for (let i = 0; i < 3000; i++) {
    map.set(`${i}`, "1");
    map.delete(`${i}`);
  }
  expect(map.take(one)).toBeUndefined(); // 3000 of a map of two
  for (let i = 0; i < 3000; i++) map.set(`${i}`, "1");
  expect(map.take(one)?.size).toBe(3000);
});
