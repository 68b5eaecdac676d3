import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Etcd3 } from "etcd3";
import { type SpawnedEtcd, spawnEtcd } from "./etcd/spawn-etcd.ts";
import { etcdStore } from "./etcd/store.ts";
import { type MemoryStore, memoryStore } from "./memory-store.ts";
import {
  type Listing,
  MAX_CHANGES,
  type Revision,
  type Store,
  StoreError,
  type Watch,
  type WatchEvent,
} from "./store.ts";

/** What the suite needs beside the store itself. */
interface Bed {
  readonly store: Store;
  compact(revision: Revision): Promise<void>;
}

let etcd: SpawnedEtcd;
beforeAll(async () => {
  etcd = await spawnEtcd();
});
afterAll(() => etcd?.remove());

const beds: [string, () => Bed][] = [
  [
    "memory store",
    () => {
      const store: MemoryStore = memoryStore();
      return { store, compact: async (revision) => store.compact(revision) };
    },
  ],
  [
    "etcd store",
    () => {
      const store = etcdStore({ endpoints: [etcd.endpoint] });
      const compact = async (revision: Revision) => {
        const raw = new Etcd3({ hosts: etcd.endpoint });
        await raw.kv.compact({ revision: String(revision), physical: true });
        raw.close();
      };
      return { store, compact };
    },
  ],
];

describe.each(beds)("every store keeps the contract: %s", (_name, makeBed) => {
  let bed: Bed;
  let store: Store;
  let count = 0;
  /** Each test has keys of its own: both stores live through the whole suite. */
  let root = "";
  beforeAll(() => {
    bed = makeBed();
    store = bed.store;
  });
  beforeEach(() => {
    root = `/margay/v1/t${++count}/`;
  });
  afterAll(() => store.close());

  describe("reading", () => {
    test("a key never written is undefined", async () => {
      expect(await store.get(`${root}a`)).toBeUndefined();
    });

    test("get gives what was written last, with its revision", async () => {
      await store.put(`${root}a`, "1");
      const { revision } = await store.put(`${root}a`, "zwei ✓");
      expect(await store.get(`${root}a`)).toEqual({ key: `${root}a`, value: "zwei ✓", revision });
    });

    test("an empty value is a value", async () => {
      await store.create(`${root}a`, "");
      expect(await store.get(`${root}a`)).toMatchObject({ value: "" });
    });

    test("list is ordered by key, keeps to its prefix, and names the revision it is true at", async () => {
      await store.put(`${root}b`, "2");
      await store.put(`${root}a/x`, "1");
      const last = await store.put(`${root.slice(0, -1)}-not-below/a`, "0");
      const { entries, revision } = await store.list(root);
      expect(entries.map(({ key, value }) => [key, value])).toEqual([
        [`${root}a/x`, "1"],
        [`${root}b`, "2"],
      ]);
      expect(revision).toBe(last.revision);
    });

    test("list of nothing is empty but has a revision to watch from", async () => {
      const { entries, revision } = await store.list(root);
      expect(entries).toEqual([]);
      expect(revision).toBeGreaterThan(0);
    });

    test("list of more than one page is complete and at one revision, whatever is written meanwhile", async () => {
      const names = Array.from({ length: 2300 }, (_, i) => `${root}${String(i).padStart(5, "0")}`);
      for (let at = 0; at < names.length; at += 100)
        await Promise.all(names.slice(at, at + 100).map((name) => store.create(name, "first")));
      const listing = store.list(root);
      const second = store.put(names[1200] as string, "later");
      const third = store.put(names[2299] as string, "later");
      const { entries, revision } = await listing;
      expect(entries.length).toBe(2300);
      expect(entries[1200]?.value).toBe((await second).revision <= revision ? "later" : "first");
      expect(entries[2299]?.value).toBe((await third).revision <= revision ? "later" : "first");
      const parts: Listing[] = [];
      const last = await store.list(root, (part) => parts.push(part));
      expect([...parts, last].flatMap((part) => part.entries.map(({ key }) => key))).toEqual(names);
      expect(new Set(parts.map((part) => part.revision).concat(last.revision)).size).toBe(1);
    });
  });

  describe("commit", () => {
    const create = (name: string, value: string) => ({ type: "create", key: root + name, value }) as const;

    test("several keys change at one revision, and the watch brings them together", async () => {
      const old = await store.create(`${root}old`, "1");
      const gone = await store.create(`${root}gone`, "1");
      const seen: (readonly WatchEvent[])[] = [];
      const watch = store.watch(root, gone.revision);
      const reading = (async () => {
        for await (const events of watch) {
          if (events.length > 0) seen.push(events);
          if (events.length > 0) break;
        }
      })();
      const written = await store.commit([
        create("new", "a"),
        { type: "delete", key: gone.key, ifRevision: gone.revision },
        { type: "update", key: old.key, value: "2", ifRevision: old.revision },
        { type: "delete", key: `${root}never` },
      ]);
      await reading;
      expect(written.map(({ key, value }) => [key, value])).toEqual([
        [`${root}new`, "a"],
        [old.key, "2"],
      ]);
      expect(new Set(written.map(({ revision }) => revision)).size).toBe(1);
      expect((await store.list(root)).entries).toEqual([written[0], written[1]]);
      expect(seen).toHaveLength(1);
      expect(seen[0]).toHaveLength(3);
      expect(await store.update(old.key, "3", written[1]!.revision)).toMatchObject({ value: "3" }); // two were written
    });

    test.each<[string, string, (at: number) => Parameters<Store["commit"]>[0][number]]>([
      ["a key that exists", "exists", () => create("there", "x")],
      [
        "a key changed since",
        "conflict",
        (at) => ({ type: "update", key: `${root}there`, value: "x", ifRevision: at - 1 }),
      ],
      [
        "a key changed since it was to be deleted",
        "conflict",
        (at) => ({ type: "delete", key: `${root}there`, ifRevision: at - 1 }),
      ],
      [
        "a key that is gone",
        "not-found",
        (at) => ({ type: "update", key: `${root}gone`, value: "x", ifRevision: at }),
      ],
      ["a deleted key", "not-found", (at) => ({ type: "delete", key: `${root}gone`, ifRevision: at })],
    ])("%s refuses all of it and is named", async (_why, code, refused) => {
      const there = await store.put(`${root}there`, "1");
      const change = refused(there.revision);
      await expect(store.commit([create("first", "1"), change, create("last", "1")])).rejects.toMatchObject({
        code,
        key: change.key,
      });
      expect((await store.list(root)).entries).toEqual([there]);
    });

    test("nothing to change is nothing written", async () => {
      const before = (await store.list(root)).revision;
      expect(await store.commit([])).toEqual([]);
      expect((await store.list(root)).revision).toBe(before);
    });

    test("as many changes as promised fit", async () => {
      const many = Array.from({ length: MAX_CHANGES }, (_, i) => create(`${i}`, "x"));
      expect(await store.commit(many)).toHaveLength(MAX_CHANGES);
    });
  });

  describe("compare and swap", () => {
    test("create refuses an existing key and leaves it", async () => {
      await store.create(`${root}a`, "mine");
      await expect(store.create(`${root}a`, "yours")).rejects.toMatchObject({
        code: "exists",
        key: `${root}a`,
      });
      expect(await store.get(`${root}a`)).toMatchObject({ value: "mine" });
    });

    test("update at the current revision succeeds and gives the next one", async () => {
      const first = await store.create(`${root}a`, "1");
      const second = await store.update(`${root}a`, "2", first.revision);
      expect(second.revision).toBeGreaterThan(first.revision);
      expect(await store.get(`${root}a`)).toEqual(second);
    });

    test("update at an old revision is a conflict and changes nothing", async () => {
      const first = await store.create(`${root}a`, "1");
      await store.put(`${root}a`, "2");
      await expect(store.update(`${root}a`, "3", first.revision)).rejects.toMatchObject({
        code: "conflict",
        key: `${root}a`,
      });
      expect(await store.get(`${root}a`)).toMatchObject({ value: "2" });
    });

    test("update of a missing key is not-found, also when it was deleted since", async () => {
      await expect(store.update(`${root}a`, "1", 1)).rejects.toMatchObject({ code: "not-found" });
      const { revision } = await store.create(`${root}a`, "1");
      await store.delete(`${root}a`);
      await expect(store.update(`${root}a`, "2", revision)).rejects.toMatchObject({ code: "not-found" });
    });

    test("delete says whether there was something; with an old revision it is a conflict", async () => {
      const first = await store.create(`${root}a`, "1");
      const second = await store.put(`${root}a`, "2");
      await expect(store.delete(`${root}a`, first.revision)).rejects.toMatchObject({ code: "conflict" });
      expect(await store.delete(`${root}a`, second.revision)).toBe(true);
      expect(await store.delete(`${root}a`)).toBe(false);
      expect(await store.delete(`${root}a`, second.revision)).toBe(false);
    });

    test("of fifty concurrent increments by compare and swap none is lost", async () => {
      await store.create(`${root}n`, "0");
      const increment = async (): Promise<void> => {
        const now = await store.get(`${root}n`);
        if (now === undefined) throw new Error("vanished");
        try {
          await store.update(`${root}n`, String(Number(now.value) + 1), now.revision);
        } catch (error) {
          if (error instanceof StoreError && error.code === "conflict") return increment();
          throw error;
        }
      };
      await Promise.all(Array.from({ length: 50 }, increment));
      expect(await store.get(`${root}n`)).toMatchObject({ value: "50" });
    });
  });

  describe("time to live", () => {
    test("a key with a time to live vanishes by itself, and the watch says so", async () => {
      const entry = await store.create(`${root}a`, "1", { ttlSeconds: 1 });
      const events = await take(store.watch(root, entry.revision), (got) => got.length === 1);
      expect(events).toMatchObject([{ type: "delete", key: `${root}a` }]);
      expect(await store.get(`${root}a`)).toBeUndefined();
    });

    test("a later write without one keeps the key for good", async () => {
      const first = await store.put(`${root}a`, "1", { ttlSeconds: 2 });
      await store.update(`${root}a`, "2", first.revision);
      const other = await store.create(`${root}b`, "1", { ttlSeconds: 2 });
      await take(store.watch(`${root}b`, other.revision), (got) => got.length === 1);
      expect(await store.get(`${root}a`)).toMatchObject({ value: "2" });
    });
  });

  describe("watching", () => {
    test("events from a revision on come complete, once and in order, old and new ones alike", async () => {
      const { revision } = await store.list(root);
      const a = await store.create(`${root}a`, "1");
      const b = await store.create(`${root}b`, "1");
      await store.delete(`${root}a`);
      const reading = take(store.watch(root, revision), (got) => got.length === 5);
      const b2 = await store.update(`${root}b`, "2", b.revision);
      const a2 = await store.create(`${root}a`, "2");
      expect(await reading).toEqual([
        { type: "put", entry: a },
        { type: "put", entry: b },
        { type: "delete", key: `${root}a`, revision: b.revision + 1 },
        { type: "put", entry: b2 },
        { type: "put", entry: a2 },
      ]);
    });

    test("the first batch comes at once, if need be empty: the watch stands", async () => {
      const { revision } = await store.list(root);
      for await (const events of store.watch(root, revision)) {
        expect(events).toEqual([]);
        break;
      }
    });

    test("other prefixes are not seen", async () => {
      const { revision } = await store.list(root);
      await store.put("/margay/v1/elsewhere/x", "1");
      await store.put(`${root}a`, "1");
      expect((await take(store.watch(root, revision), (got) => got.length === 1)).map(keyOf)).toEqual([
        `${root}a`,
      ]);
    });

    test("close ends the iteration without an error, before and during it", async () => {
      const { revision } = await store.list(root);
      const unread = store.watch(root, revision);
      unread.close();
      expect(await take(unread, () => false)).toEqual([]);
      const read = store.watch(root, revision);
      const ended = take(read, () => false);
      await store.put(`${root}a`, "1");
      await take(store.watch(root, revision), (got) => got.length === 1);
      read.close();
      await ended;
    });

    test("a compacted revision is refused at once, and a listing afterwards has everything", async () => {
      const first = await store.create(`${root}a`, "1");
      await store.delete(`${root}a`);
      await store.create(`${root}b`, "1");
      const last = await store.put(`${root}b`, "2");
      await bed.compact(last.revision);
      await expect(take(store.watch(root, first.revision), () => false)).rejects.toMatchObject({
        code: "compacted",
      });
      const { entries, revision } = await store.list(root);
      expect(entries).toEqual([last]);
      const next = await store.put(`${root}c`, "1");
      expect(await take(store.watch(root, revision), (got) => got.length === 1)).toEqual([
        { type: "put", entry: next },
      ]);
    });

    test("a compaction does not disturb a watch that has seen everything", async () => {
      const first = await store.create(`${root}a`, "1");
      const reading = take(store.watch(root, first.revision), (got) => got.length === 2);
      const second = await store.put(`${root}a`, "2");
      await bed.compact(second.revision);
      await store.put(`${root}a`, "3");
      expect((await reading).length).toBe(2);
    });

    test("a slow reader misses nothing and reads on where it stopped", async () => {
      const { revision } = await store.list(root);
      const watch = store.watch(root, revision);
      const seen: string[] = [];
      const slow = (async () => {
        for await (const events of watch) {
          await new Promise((resolve) => setTimeout(resolve, 2));
          for (const event of events) if (event.type === "put") seen.push(event.entry.value);
          if (seen.length === 500) return;
        }
      })();
      const values = Array.from({ length: 500 }, (_, i) => String(i));
      for (const value of values) await store.put(`${root}a`, value);
      await slow;
      expect(seen).toEqual(values);
    });
  });
});

/** Reads until `enough`, then closes. */
async function take(watch: Watch, enough: (got: readonly WatchEvent[]) => boolean): Promise<WatchEvent[]> {
  const got: WatchEvent[] = [];
  for await (const events of watch) {
    got.push(...events);
    if (enough(got)) break;
  }
  return got;
}

const keyOf = (event: WatchEvent): string => (event.type === "put" ? event.entry.key : event.key);
