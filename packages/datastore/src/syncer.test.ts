import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { memoryStore } from "./memory-store.ts";
import { type Entry, type Store, StoreError } from "./store.ts";
import { type SyncBatch, Syncer, type SyncStatus } from "./syncer.ts";

const PREFIX = "/margay/v1/";

/** A syncer with everything it told, and with waits that end at once. */
function follow(store: Store) {
  const batches: SyncBatch[] = [];
  const statuses: SyncStatus[] = [];
  const sleeps: number[] = [];
  const world = new Map<string, string>();
  const syncer = new Syncer({
    store,
    prefix: PREFIX,
    random: () => 0,
    onBatch(batch) {
      batches.push(batch);
      for (const { key, entry } of batch.updates) {
        if (entry === undefined) world.delete(key);
        else world.set(key, entry.value);
      }
    },
    onStatus: (status) => void statuses.push(status),
    async sleep(ms) {
      sleeps.push(ms);
      await settle();
    },
  });
  const updates = () =>
    batches.flatMap((batch) => batch.updates.map(({ key, entry }) => [key, entry?.value]));
  return { syncer, batches, statuses, sleeps, world, updates };
}

/** The store, of which a listing comes in parts of one entry. */
const inParts = (store: Store): Store => ({
  ...store,
  async list(prefix, onPart) {
    const all = await store.list(prefix);
    for (const entry of all.entries) {
      onPart?.({ ...all, entries: [entry] });
      await settle();
    }
    return { ...all, entries: [] };
  },
});

/** Lets everything that is ready run. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await settle();
}

describe("list, then watch", () => {
  test("an empty store is in sync after one empty batch", async () => {
    const store = memoryStore();
    const { syncer, batches } = follow(store);
    void syncer.start();
    await settled();
    expect(batches).toEqual([{ updates: [], inSync: true, revision: 1 }]);
    await syncer.stop();
  });

  test("what was there comes in one batch in the order it was written, what follows in order", async () => {
    const store = memoryStore();
    await store.put(`${PREFIX}b`, "1");
    await store.put(`${PREFIX}a`, "1");
    await store.put("/other/x", "1");
    const { syncer, updates, batches } = follow(store);
    void syncer.start();
    await settled();
    expect(batches.length).toBe(1);
    await store.put(`${PREFIX}b`, "2");
    await store.delete(`${PREFIX}a`);
    await settled();
    expect(updates()).toEqual([
      [`${PREFIX}b`, "1"],
      [`${PREFIX}a`, "1"],
      [`${PREFIX}b`, "2"],
      [`${PREFIX}a`, undefined],
    ]);
    await syncer.stop();
  });

  test("what was there comes part by part, and only the last one says that it is all; later lists at once", async () => {
    const store = memoryStore();
    await store.put(`${PREFIX}a`, "1");
    await store.put(`${PREFIX}b`, "1");
    const { syncer, batches } = follow(inParts(store));
    void syncer.start();
    await settled();
    expect(batches.map(({ updates, inSync }) => [inSync, ...updates.map(({ key }) => key)])).toEqual([
      [false, `${PREFIX}a`],
      [false, `${PREFIX}b`],
      [true],
    ]);
    store.disconnect();
    await store.delete(`${PREFIX}a`);
    await store.put(`${PREFIX}b`, "2");
    await store.put(`${PREFIX}c`, "1");
    store.compact();
    await settled();
    expect(batches.slice(3)).toMatchObject([
      { inSync: true, updates: [{ key: `${PREFIX}a` }, { key: `${PREFIX}b` }, { key: `${PREFIX}c` }] },
    ]);
    await syncer.stop();
  });

  test("a first list that breaks off is not taken for all; the next one, be it of an older store, says what is", async () => {
    const store = memoryStore();
    for (const name of ["gone", "gone", "a"]) await store.put(PREFIX + name, "1");
    const older = memoryStore();
    await older.put(`${PREFIX}a`, "older");
    let breaks = true;
    const { syncer, batches, world } = follow({
      ...older,
      async list(prefix, onPart) {
        if (!breaks) return older.list(prefix);
        breaks = false;
        onPart?.(await store.list(prefix));
        throw new StoreError("unavailable", "on demand");
      },
    });
    void syncer.start();
    await settled();
    expect(batches.map(({ inSync }) => inSync)).toEqual([false, true]);
    expect(Object.fromEntries(world)).toEqual({ [`${PREFIX}a`]: "older" });
    await syncer.stop();
  });

  test("nothing is delivered after stop", async () => {
    const store = memoryStore();
    const { syncer, batches } = follow(store);
    void syncer.start();
    await settled();
    await syncer.stop();
    await store.put(`${PREFIX}a`, "1");
    await settled();
    expect(batches.length).toBe(1);
  });
});

describe("after a lost connection", () => {
  test("the watch goes on where it stopped: nothing twice, nothing missing", async () => {
    const store = memoryStore();
    const { syncer, updates, statuses } = follow(store);
    void syncer.start();
    await settled();
    await store.put(`${PREFIX}a`, "1");
    await settled();
    store.disconnect();
    await store.put(`${PREFIX}a`, "2");
    await settled();
    expect(updates()).toEqual([
      [`${PREFIX}a`, "1"],
      [`${PREFIX}a`, "2"],
    ]);
    expect(statuses.map(({ kind }) => kind)).toEqual(["connected", "disconnected", "connected"]);
    await syncer.stop();
  });

  test("compacted meanwhile: the difference is delivered, deletes included, the unchanged is not", async () => {
    const store = memoryStore();
    await store.put(`${PREFIX}gone`, "1");
    await store.put(`${PREFIX}same`, "1");
    await store.put(`${PREFIX}changed`, "1");
    const { syncer, batches, statuses } = follow(store);
    void syncer.start();
    await settled();
    store.disconnect();
    await store.delete(`${PREFIX}gone`);
    await store.put(`${PREFIX}changed`, "2");
    await store.put(`${PREFIX}new`, "1");
    store.compact();
    await settled();
    expect(batches[1]?.updates.map(({ key, entry }) => [key, entry?.value])).toEqual([
      [`${PREFIX}gone`, undefined],
      [`${PREFIX}changed`, "2"],
      [`${PREFIX}new`, "1"],
    ]);
    expect(statuses).toMatchObject([
      { kind: "connected" },
      { kind: "disconnected", relist: false },
      { kind: "disconnected", relist: true, error: { code: "compacted" } },
      { kind: "connected" },
    ]);
    await syncer.stop();
  });

  test("a store restored from an older backup is taken as it is, although its revisions are lower", async () => {
    const now = memoryStore();
    const backup = memoryStore();
    await backup.put(`${PREFIX}a`, "old");
    for (const value of ["1", "2", "3"]) await now.put(`${PREFIX}a`, value);
    await now.put(`${PREFIX}b`, "since the backup");
    let store: Store = now;
    const switched: Store = {
      ...now,
      list: (prefix) => store.list(prefix),
      watch: (...args) => store.watch(...args),
    };
    const { syncer, world } = follow(switched);
    void syncer.start();
    await settled();
    store = { ...backup, watch: () => failing("compacted") };
    now.disconnect();
    await settled();
    expect(Object.fromEntries(world)).toEqual({ [`${PREFIX}a`]: "old" });
    await syncer.stop();
  });

  test("waits double from one second to two, whatever fails; a connection that stands starts them anew", async () => {
    const store = memoryStore();
    let down = true;
    const list: Store["list"] = async (prefix) => {
      if (down) throw new StoreError("unavailable", "down");
      return store.list(prefix);
    };
    const { syncer, sleeps } = follow({ ...store, list });
    void syncer.start();
    while (sleeps.length < 5) await settle();
    down = false;
    await settled();
    store.disconnect();
    await settled();
    expect(sleeps).toEqual([1000, 2000, 2000, 2000, 2000, ...sleeps.slice(5, -1), 1000]);
    await syncer.stop();
  });

  test("an error of the consumer is not a lost connection: it gets out", async () => {
    const store = memoryStore();
    const syncer = new Syncer({
      store,
      prefix: PREFIX,
      sleep: async () => {},
      onBatch: () => {
        throw new Error("bug");
      },
    });
    await expect(syncer.start()).rejects.toThrow("bug");
  });
});

/** A watch that ends at once. */
function failing(code: "compacted" | "unavailable") {
  return {
    async *[Symbol.asyncIterator]() {
      yield [];
      throw new StoreError(code, "on demand");
    },
    close() {},
  };
}

describe("observe: one's own write, read at once", () => {
  test("it is delivered at once, and its event is dropped", async () => {
    const store = memoryStore();
    const { syncer, updates } = follow(store);
    void syncer.start();
    await settled();
    syncer.observe(await store.put(`${PREFIX}a`, "1"));
    expect(updates()).toEqual([[`${PREFIX}a`, "1"]]);
    await settled();
    expect(updates()).toEqual([[`${PREFIX}a`, "1"]]);
    await syncer.stop();
  });

  test("several of one commit are one batch, without those that the stream has passed", async () => {
    const store = memoryStore();
    const { syncer, batches } = follow(store);
    void syncer.start();
    await settled();
    const passed = await store.put(`${PREFIX}a`, "1");
    await settled();
    const [b, c] = await Promise.all([store.put(`${PREFIX}b`, "1"), store.put(`${PREFIX}c`, "1")]);
    syncer.observe(passed, b, c);
    expect(batches.at(-1)).toMatchObject({ updates: [{ key: `${PREFIX}b` }, { key: `${PREFIX}c` }] });
    expect(["a", "b", "d"].map((name) => syncer.knows(`${PREFIX}${name}`))).toEqual([true, true, false]);
    await settled();
    await syncer.stop();
  });

  test("before the first list it is delivered as not in sync", async () => {
    const store = memoryStore();
    const { syncer, batches } = follow(store);
    syncer.observe(await store.put(`${PREFIX}a`, "1"));
    expect(batches).toMatchObject([{ inSync: false, updates: [{ key: `${PREFIX}a` }] }]);
    void syncer.start();
    await settled();
    expect(batches).toMatchObject([{ inSync: false }, { inSync: true, updates: [] }]);
    await syncer.stop();
  });

  test("older events for that key are dropped, those for others are not", async () => {
    const store = memoryStore();
    const { syncer, updates } = follow(store);
    void syncer.start();
    await settled();
    const [, , mine] = await Promise.all([
      store.put(`${PREFIX}a`, "old"),
      store.put(`${PREFIX}b`, "1"),
      store.put(`${PREFIX}a`, "mine"),
    ]);
    syncer.observe(mine);
    await settled();
    expect(updates()).toEqual([
      [`${PREFIX}a`, "mine"],
      [`${PREFIX}b`, "1"],
    ]);
    await syncer.stop();
  });

  test("a write that the stream has passed does not bring a deleted key back", async () => {
    const store = memoryStore();
    const { syncer, updates } = follow(store);
    void syncer.start();
    await settled();
    const mine = await store.put(`${PREFIX}a`, "1");
    await store.delete(`${PREFIX}a`);
    await settled();
    syncer.observe(mine);
    expect(updates().at(-1)).toEqual([`${PREFIX}a`, undefined]);
    await syncer.stop();
  });

  test("a relist from before the write does not take it away", async () => {
    const store = memoryStore();
    const before = await store.list(PREFIX);
    const { promise: observed, resolve } = Promise.withResolvers<void>();
    const silent = {
      async *[Symbol.asyncIterator]() {
        yield [];
        await observed;
        throw new StoreError("compacted", "on demand");
      },
      close() {},
    };
    const { syncer, world, statuses } = follow({ ...store, list: async () => before, watch: () => silent });
    void syncer.start();
    await settled();
    syncer.observe(await store.put(`${PREFIX}a`, "mine"));
    resolve();
    await settled();
    expect(statuses).toContainEqual(expect.objectContaining({ relist: true }));
    expect(world.get(`${PREFIX}a`)).toBe("mine");
    await syncer.stop();
  });
});

type Step =
  | { readonly do: "put"; readonly key: string; readonly observed: boolean }
  | { readonly do: "delete"; readonly key: string }
  | { readonly do: "compact" | "disconnect" | "settle" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("put" as const),
      key: fc.constantFrom("a", "b", "c"),
      observed: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("delete" as const), key: fc.constantFrom("a", "b", "c") }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("compact" as const, "disconnect" as const, "settle" as const),
    }),
  },
);

test("whatever is written, lost, compacted and observed: in the end the consumer holds what the store holds, and no key ever went back", async () => {
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 40 }), async (isInParts, steps) => {
      const store = memoryStore();
      const { syncer, batches, world } = follow(isInParts ? inParts(store) : store);
      void syncer.start();
      for (const [i, now] of steps.entries()) {
        if (now.do === "put") await observeIf(now.observed, syncer, store.put(PREFIX + now.key, String(i)));
        else if (now.do === "delete") await store.delete(PREFIX + now.key);
        else if (now.do === "compact") store.compact();
        else if (now.do === "disconnect") store.disconnect();
        else await settled();
      }
      for (let turn = 0; turn < 10; turn++) await settled();
      await syncer.stop();
      const { entries } = await store.list(PREFIX);
      expect(Object.fromEntries(world)).toEqual(
        Object.fromEntries(entries.map(({ key, value }) => [key, value])),
      );
      expectNoStepBack(batches);
    }),
    { numRuns: 200 },
  );
});

async function observeIf(observed: boolean, syncer: Syncer, writing: Promise<Entry>): Promise<void> {
  const entry = await writing;
  if (observed) syncer.observe(entry);
}

function expectNoStepBack(batches: readonly SyncBatch[]): void {
  const last = new Map<string, number>();
  for (const { key, entry } of batches.flatMap((batch) => batch.updates)) {
    if (entry === undefined) continue;
    expect(entry.revision).toBeGreaterThan(last.get(key) ?? 0);
    last.set(key, entry.revision);
  }
}
