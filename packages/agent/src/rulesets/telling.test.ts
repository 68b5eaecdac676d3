import { expect, test } from "@jest/globals";
import type { Target } from "@margay/reconcile";
import { telling } from "./telling.ts";

/** A world that anybody may change, and what was told of it. */
function world() {
  const there = new Map<string, string>();
  const told: string[] = [];
  let isFailing = false;
  const act = (change: () => void) => {
    if (isFailing) throw new Error("refused");
    change();
  };
  const target: Target<string> = {
    name: "world",
    list: async () => new Map(there),
    same: (a, b) => a === b,
    put: async (wanted) =>
      act(() => {
        for (const [key, value] of wanted) there.set(key, value);
      }),
    remove: async (keys) =>
      act(() => {
        for (const key of keys) there.delete(key);
      }),
  };
  const ours = telling(target, (keys) => told.push(...keys));
  const put = (...keys: readonly string[]) => ours.put(new Map(keys.map((key) => [key, "ours"])));
  const fails = async (write: () => Promise<void>) => {
    isFailing = true;
    await expect(write()).rejects.toThrow("refused");
    isFailing = false;
  };
  return { there, told, ours, put, fails };
}

type World = ReturnType<typeof world>;

test.each<[why: string, story: (w: World) => Promise<void>, told: readonly string[]]>([
  [
    "what only we write",
    async ({ ours, put }) => {
      await put("a");
      await ours.list();
      await put("a");
      await ours.remove(["a"]);
    },
    [],
  ],
  [
    "gone",
    async ({ there, ours, put }) => {
      await put("a", "b");
      there.delete("a");
      await ours.list();
      await put("a");
    },
    ["a"],
  ],
  [
    "gone, after something else was written",
    async ({ there, ours, put }) => {
      await put("a");
      await put("b");
      there.delete("a");
      await ours.list();
      await put("a");
    },
    ["a"],
  ],
  [
    "other than we wrote it",
    async ({ there, ours, put }) => {
      await put("a");
      there.set("a", "theirs");
      await ours.list();
      await put("a");
    },
    ["a"],
  ],
  [
    "come in between",
    async ({ there, ours, put }) => {
      await put("a");
      there.set("b", "theirs");
      await ours.list();
      await ours.remove(["b"]);
    },
    ["b"],
  ],
  [
    "harm that is not undone is not told",
    async ({ there, ours, put }) => {
      await put("a");
      there.delete("a");
      await ours.list();
      await ours.list();
    },
    [],
  ],
  [
    "harm between a write that fails and the next reading",
    async ({ there, ours, put, fails }) => {
      await put("a");
      await fails(() => put("b"));
      there.delete("a");
      await ours.list();
      await put("a", "b");
    },
    ["a"],
  ],
  [
    "what a write that failed did all the same",
    async ({ there, ours, put, fails }) => {
      await put("a", "b");
      await fails(() => put("b", "c"));
      there.set("b", "half");
      there.set("c", "half");
      await ours.list();
      await put("b");
      await ours.remove(["c"]);
    },
    [],
  ],
])("%s", async (_why, story, told) => {
  const one = world();
  await one.ours.list();
  await story(one);
  expect(one.told).toEqual(told);
});
