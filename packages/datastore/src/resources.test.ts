import { describe, expect, test } from "@jest/globals";
import type { ApiError, IPPool, NetworkSet } from "@margay/api";
import { type MemoryStore, memoryStore } from "./memory-store.ts";
import { resourceOf, resources } from "./resources.ts";

const pool = (name: string, spec: Partial<IPPool["spec"]> = {}): IPPool => ({
  apiVersion: "margay.dev/v1",
  kind: "IPPool",
  metadata: { name },
  spec: { cidr: "10.244.0.0/16", blockSize: 26, natOutgoing: true, ...spec } as IPPool["spec"], // the rest is defaults
});

const set = (namespace: string, name: string): NetworkSet => ({
  apiVersion: "margay.dev/v1",
  kind: "NetworkSet",
  metadata: { name, namespace, labels: { a: "b" } },
  spec: { nets: ["192.0.2.0/24"] },
});

function pools(store: MemoryStore = memoryStore()) {
  return { store, collection: resources(store, "IPPool") };
}

describe("a collection", () => {
  test("gives back what was created, with its revision as resourceVersion", async () => {
    const { collection, store } = pools();
    const created = await collection.create(pool("p1"));
    expect(created.metadata.resourceVersion).toBe("2");
    expect(await collection.get("p1")).toMatchObject({
      metadata: { name: "p1", resourceVersion: "2" },
      spec: { cidr: "10.244.0.0/16" },
    });
    expect(await collection.get("p2")).toBeUndefined();
    expect((await store.get("/margay/v1/ippools/p1"))?.value).not.toContain("resourceVersion");
  });

  test("keeps namespaces and kinds apart", async () => {
    const store = memoryStore();
    const sets = resources(store, "NetworkSet");
    await resources(store, "IPPool").create(pool("p1"));
    for (const [namespace, name] of [
      ["red", "a"],
      ["red", "b"],
      ["redder", "a"],
    ] as const)
      await sets.create(set(namespace, name));
    expect((await sets.list("red")).map(({ metadata }) => metadata.name)).toEqual(["a", "b"]);
    expect((await sets.list()).length).toBe(3);
  });

  test("update goes by resourceVersion: stale is a conflict, none is a conflict, gone is not-found", async () => {
    const { collection } = pools();
    const first = await collection.create(pool("p1"));
    const second = await collection.update({ ...first, spec: { ...first.spec, disabled: true } });
    await expect(collection.update(first)).rejects.toMatchObject({ code: "conflict" });
    await expect(collection.update(pool("p1"))).rejects.toMatchObject({ code: "conflict" });
    await expect(collection.delete("p1", undefined, first.metadata.resourceVersion)).rejects.toMatchObject({
      code: "conflict",
    });
    expect(await collection.delete("p1", undefined, second.metadata.resourceVersion)).toBe(true);
    await expect(collection.update(second)).rejects.toMatchObject({ code: "not-found" });
    expect(await collection.delete("p1")).toBe(false);
  });

  test("apply creates, then changes, then sees that nothing is to do", async () => {
    const { collection, store } = pools();
    expect((await collection.apply(pool("p1"))).outcome).toBe("created");
    expect((await collection.apply(pool("p1", { disabled: true }))).outcome).toBe("configured");
    const before = store.revision;
    expect((await collection.apply(pool("p1", { disabled: true }))).outcome).toBe("unchanged");
    expect(store.revision).toBe(before);
  });

  test("apply keeps the status and creation time that it does not speak of", async () => {
    const { collection } = pools();
    await collection.create({
      ...pool("p1"),
      status: { used: 3 },
      metadata: { name: "p1", creationTimestamp: "2026-01-01T00:00:00Z" },
    });
    const { outcome } = await collection.apply(pool("p1", { disabled: true }));
    expect(outcome).toBe("configured");
    expect(await collection.get("p1")).toMatchObject({
      status: { used: 3 },
      metadata: { creationTimestamp: "2026-01-01T00:00:00Z" },
    });
  });

  test("apply mends a corrupt value, which reading refuses by name", async () => {
    const { collection, store } = pools();
    await store.put("/margay/v1/ippools/p1", "{]");
    await store.put("/margay/v1/ippools/p2", JSON.stringify(pool("p2")));
    await expect(collection.get("p1")).rejects.toMatchObject({
      code: "corrupt",
      origin: "/margay/v1/ippools/p1",
    });
    await expect(collection.list()).rejects.toMatchObject({ code: "corrupt" });
    const told: ApiError[] = [];
    expect(
      (await collection.list(undefined, (error) => told.push(error))).map(({ metadata }) => metadata.name),
    ).toEqual(["p2"]);
    expect(told.map(({ origin }) => origin)).toEqual(["/margay/v1/ippools/p1"]);
    expect((await collection.apply(pool("p1"))).outcome).toBe("configured");
    expect(await collection.get("p1")).toMatchObject({ spec: { cidr: "10.244.0.0/16" } });
  });

  test("of twenty concurrent modifications none is lost", async () => {
    const { collection } = pools();
    await collection.create({ ...pool("p1"), metadata: { name: "p1", annotations: { count: "0" } } });
    const increment = () =>
      collection.modify("p1", undefined, (now) => ({
        ...now,
        metadata: {
          ...now.metadata,
          annotations: { count: String(Number(now.metadata.annotations?.count) + 1) },
        },
      }));
    await Promise.all(Array.from({ length: 20 }, increment));
    expect((await collection.get("p1"))?.metadata.annotations).toEqual({ count: "20" });
  });

  test("modify stops asking: a step without a result changes nothing, a missing resource is not-found, endless conflicts get out", async () => {
    const { collection, store } = pools();
    await collection.create(pool("p1"));
    const before = store.revision;
    await collection.modify("p1", undefined, () => undefined);
    expect(store.revision).toBe(before);
    await expect(collection.modify("p2", undefined, (now) => now)).rejects.toMatchObject({
      code: "not-found",
    });
    let tries = 0;
    const meddled = collection.modify("p1", undefined, (now) => {
      tries++;
      void store.put("/margay/v1/ippools/p1", JSON.stringify(pool("p1")));
      return now;
    });
    await expect(meddled).rejects.toMatchObject({ code: "conflict" });
    expect(tries).toBe(20);
  });

  test("an entry of any kind becomes its resource", async () => {
    const store = memoryStore();
    await resources(store, "NetworkSet").create(set("red", "a"));
    const { entries } = await store.list("/margay/v1/");
    expect(entries.map(resourceOf)).toMatchObject([
      { kind: "NetworkSet", metadata: { namespace: "red", name: "a", resourceVersion: "2" } },
    ]);
  });
});
