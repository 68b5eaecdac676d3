import { expect, test } from "@jest/globals";
import { MAX_CHANGES, memoryStore, type Store, StoreError } from "@margay/datastore";
import { grouped } from "./grouped.ts";

/** A store that counts the changes of each commit. */
function counting(): { store: ReturnType<typeof memoryStore>; commits: number[]; writes: Store } {
  const store = memoryStore();
  const commits: number[] = [];
  const commit: Store["commit"] = (changes) => {
    commits.push(changes.length);
    return store.commit(changes);
  };
  return {
    store,
    commits,
    writes: new Proxy(store, { get: (of, name) => (name === "commit" ? commit : bound(of, name)) }),
  };
}
const bound = (of: Store, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(of, name);
  return typeof value === "function" ? value.bind(of) : value;
};
const all = (count: number) => Array.from({ length: count }, (_, i) => `/k/${i}`);

test("the first go at once, those that are asked for meanwhile go together", async () => {
  const { store, commits, writes } = counting();
  const group = grouped(writes);
  const entries = await Promise.all(all(300).map((key) => group.create(key, `v ${key}`)));
  expect(commits).toEqual([1, 1, MAX_CHANGES, MAX_CHANGES, 58]);
  expect(entries[299]).toEqual(await store.get("/k/299"));
  await group.delete("/k/7");
  await group.update("/k/8", "new", entries[8]?.revision ?? 0);
  expect(await store.get("/k/7")).toBeUndefined();
  expect(await store.get("/k/8")).toMatchObject({ value: "new" });
});

test("what stands against one key is told of that key alone", async () => {
  const { store, writes } = counting();
  await store.put("/k/5", "somebody's");
  const group = grouped(writes);
  const done = await Promise.allSettled(all(10).map((key) => group.create(key, "ours")));
  expect(done.map(({ status }) => status)).toEqual([
    ...Array(5).fill("fulfilled"),
    ...["rejected", "fulfilled", "fulfilled", "fulfilled", "fulfilled"],
  ]);
  expect(done[5]).toMatchObject({ reason: { code: "exists", key: "/k/5" } });
  expect(await store.get("/k/5")).toMatchObject({ value: "somebody's" });
});

test("a group that etcd does not take as a whole goes one by one", async () => {
  const store = memoryStore();
  const { commit } = store;
  store.commit = async (changes) => {
    if (changes.some(({ key }) => key === "/k/5")) throw new StoreError("too-large", "more than it takes");
    return commit.call(store, changes);
  };
  const group = grouped(store);
  const done = await Promise.allSettled(all(10).map((key) => group.create(key, "ours")));
  expect(done.flatMap(({ status }, i) => (status === "rejected" ? [i] : []))).toEqual([5]);
});

test("a commit that etcd may have taken is not asked again: all of it fails, what comes later does not", async () => {
  const { store, commits, writes } = counting();
  const group = grouped(writes);
  store.failNext({ when: "after" });
  const done = await Promise.allSettled(all(10).map((key) => group.create(key, "ours")));
  expect(done.filter(({ status }) => status === "rejected")).toHaveLength(1);
  expect(commits).toEqual([1, 1, 8]);
});

test("a key is in a commit once: its second write is for the next", async () => {
  const { store, writes } = counting();
  const group = grouped(writes);
  const before = [group.create("/a", "1"), group.create("/b", "1")]; // the next wait
  const created = group.create("/k", "1");
  const again = group.create("/k", "2");
  await Promise.all([...before, created]);
  await expect(again).rejects.toMatchObject({ code: "exists" });
  expect(await store.get("/k")).toMatchObject({ value: "1" });
});

test("large values are few in a commit: etcd's requests have a bound", async () => {
  const { commits, writes } = counting();
  const group = grouped(writes);
  const large = "x".repeat(200 * 1024);
  await Promise.all(all(8).map((key) => group.create(key, large)));
  expect(commits).toEqual([1, 1, 2, 2, 2]);
});
