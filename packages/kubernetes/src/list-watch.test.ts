import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { until } from "@margay/testing";
import { type ApiServer, apiServer } from "./api-server.ts";
import { type Change, ListWatch, type WatchStatus } from "./list-watch.ts";
import type { KubernetesObject } from "./objects.ts";
import { type MemoryApiServer, memoryApiServer } from "./testing/memory-api-server.ts";

const PODS = "/api/v1/pods";
const pod = (name: string, labels: Record<string, string> = {}, nodeName = "n1"): KubernetesObject => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "shop", labels },
  spec: { nodeName },
});

let kubernetes: MemoryApiServer;
let server: ApiServer;
let following: Following | undefined;

beforeEach(async () => {
  kubernetes = await memoryApiServer();
  server = apiServer(kubernetes.access);
});
afterEach(async () => {
  await following?.watch.stop();
  following = undefined;
  server.close();
  await kubernetes.close();
});

interface Following {
  readonly watch: ListWatch<string>;
  readonly changes: Change<string>[];
  readonly statuses: WatchStatus[];
  readonly pauses: number[];
}

/** Follows pods, keeping their label "app"; pauses take a hundredth of their time. */
function follow(options: Partial<ConstructorParameters<typeof ListWatch<string>>[0]> = {}): Following {
  const [changes, statuses, pauses]: [Change<string>[], WatchStatus[], number[]] = [[], [], []];
  const watch = new ListWatch<string>({
    ...{ server, path: PODS, random: () => 0, now: () => performance.now() * 100 },
    keep: ({ metadata }) => metadata.labels?.app ?? "none",
    onChange: (some) => void changes.push(...some),
    onStatus: (status) => void statuses.push(status),
    sleep: async (ms, signal) => {
      pauses.push(ms);
      await sleep(ms / 100, undefined, { signal }).catch(() => {});
    },
    ...options,
  });
  following = { watch, changes, statuses, pauses };
  void watch.start();
  return following;
}

/** What is under way between two ends in this process arrives, however seldom it gets a processor. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await sleep(1);
}
const cache = ({ watch }: Following) => Object.fromEntries(watch.entries());
const lists = () => kubernetes.requests.filter((text) => !text.includes("watch=1"));

test("a list in pages, then each change once", async () => {
  for (const name of ["a", "b", "c", "d", "e"]) kubernetes.put(PODS, pod(name, { app: name }));
  const all = follow({ pageSize: 2 });
  await until(() => all.watch.synced);
  expect(lists()).toHaveLength(3);
  await until(() => all.statuses.length === 1);
  kubernetes.put(PODS, pod("b", { app: "B" }));
  kubernetes.remove(PODS, "shop/c");
  await until(() => all.changes.length === 7);
  expect(all.changes.slice(5)).toEqual([{ name: "shop/b", value: "B" }, { name: "shop/c" }]);
  expect(cache(all)).toEqual({ "shop/a": "a", "shop/b": "B", "shop/d": "d", "shop/e": "e" });
});

test("410 Gone is a relist that tells differences only, deletions included", async () => {
  for (const name of ["a", "b", "c"]) kubernetes.put(PODS, pod(name));
  const all = follow();
  await until(() => all.statuses.length === 1);
  all.changes.length = 0;
  kubernetes.setSilent(true); // what happens now is not heard of
  kubernetes.remove(PODS, "shop/a");
  kubernetes.put(PODS, pod("b", { app: "B" }));
  kubernetes.compact();
  kubernetes.setSilent(false);
  kubernetes.cut();
  await until(() => all.changes.length === 2);
  expect(all.changes).toEqual([{ name: "shop/b", value: "B" }, { name: "shop/a" }]);
  await until(() => all.statuses.at(-1)?.kind === "connected");
  kubernetes.put(PODS, pod("d"));
  await until(() => cache(all)["shop/d"] === "none");
});

test("410 between two pages begins the list anew", async () => {
  for (const name of ["a", "b", "c"]) kubernetes.put(PODS, pod(name));
  kubernetes.fail({ on: "continue=", status: 410 });
  const all = follow({ pageSize: 2 });
  await until(() => all.watch.synced);
  expect(all.changes.map(({ name }) => name)).toEqual(["shop/a", "shop/b", "shop/c"]);
});

test("a stream cut in the middle of a line goes on where it was", async () => {
  const all = follow();
  await until(() => all.statuses.length === 1);
  kubernetes.put(PODS, pod("a"));
  await until(() => all.changes.length === 1);
  kubernetes.cut();
  kubernetes.put(PODS, pod("b"));
  await until(() => all.changes.length === 2);
  expect(lists()).toHaveLength(1);
  expect(all.changes.map(({ name }) => name)).toEqual(["shop/a", "shop/b"]);
});

test("a bookmark moves the place to go on from: what was compacted before it costs no relist", async () => {
  const all = follow();
  await until(() => all.statuses.length === 1);
  kubernetes.put("/api/v1/nodes", { metadata: { name: "n1" } }); // history that pods have no event for
  kubernetes.compact();
  kubernetes.bookmark();
  await until(() => kubernetes.requests.length === 2);
  await turns();
  kubernetes.cut();
  await until(() => kubernetes.requests.length === 3);
  kubernetes.put(PODS, pod("a"));
  await until(() => all.changes.length === 1);
  expect(lists()).toHaveLength(1);
});

test("an event that comes twice is told once", async () => {
  kubernetes.setRepeating(true);
  const all = follow();
  await until(() => all.statuses.length === 1);
  kubernetes.put(PODS, pod("a", { app: "1" }));
  kubernetes.put(PODS, pod("a", { app: "2" }));
  kubernetes.remove(PODS, "shop/a");
  await until(() => all.changes.length === 3);
  await turns();
  expect(all.changes).toEqual([
    { name: "shop/a", value: "1" },
    { name: "shop/a", value: "2" },
    { name: "shop/a" },
  ]);
});

test("an object that is not kept any more is as good as deleted", async () => {
  const all = follow({ keep: ({ metadata }) => metadata.labels?.app });
  await until(() => all.statuses.length === 1);
  kubernetes.put(PODS, pod("a"));
  kubernetes.put(PODS, pod("a", { app: "1" }));
  kubernetes.put(PODS, pod("a"));
  await until(() => all.changes.length === 2);
  expect(all.changes).toEqual([{ name: "shop/a", value: "1" }, { name: "shop/a" }]);
});

test("only metadata when only that is asked for, and only the node's own pods", async () => {
  kubernetes.put(PODS, pod("here", {}, "n1"));
  kubernetes.put(PODS, pod("there", {}, "n2"));
  const kept: KubernetesObject[] = [];
  const all = follow({
    ...{ metadataOnly: true, query: { fieldSelector: "spec.nodeName=n1" } },
    keep: (object) => {
      kept.push(object);
      return "";
    },
  });
  await until(() => all.watch.synced);
  expect(kept.map(({ kind, spec, metadata }) => [kind, spec, metadata.name])).toEqual([
    ["PartialObjectMetadata", undefined, "here"],
  ]);
});

describe("a server in trouble", () => {
  test.each<[string, { status: number; retryAfterSeconds?: number }, number]>([
    ["503 is tried again after a second", { status: 503 }, 1000],
    ["429 with Retry-After is taken at its word", { status: 429, retryAfterSeconds: 7 }, 7000],
    ["403 is told and tried again: a role may be bound later", { status: 403 }, 1000],
  ])("%s", async (_why, fault, pauseMs) => {
    kubernetes.fail(fault);
    const all = follow();
    await until(() => all.watch.synced);
    expect(all.statuses[0]).toMatchObject({ kind: "disconnected", retryInMs: pauseMs });
  });

  test("pages that come slowly come all the same", async () => {
    for (const name of ["a", "b", "c", "d"]) kubernetes.put(PODS, pod(name));
    kubernetes.setDelay(50);
    const all = follow({ pageSize: 1 });
    await until(() => all.watch.synced);
    expect(all.watch.size).toBe(4);
  });

  test("watches that end at once are begun at most once a second", async () => {
    const all = follow({
      now: () => performance.now(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
    });
    await until(() => all.statuses.length === 1);
    const ending = setInterval(() => kubernetes.cut(), 5);
    const begun = performance.now();
    await sleep(2500);
    clearInterval(ending);
    const most = 2 + Math.floor((performance.now() - begun) / 1000);
    expect(kubernetes.requests.filter((text) => text.includes("watch=1")).length).toBeLessThanOrEqual(most);
  });
});

test("a consumer that throws ends the watch: that is no broken connection", async () => {
  kubernetes.put(PODS, pod("a"));
  const watch = new ListWatch<string>({
    ...{ server, path: PODS, keep: () => "", random: () => 0, now: () => 0 },
    onChange: () => {
      throw new Error("broken");
    },
    sleep: async () => {},
  });
  await expect(watch.start()).rejects.toThrow("a consumer of a watch failed: Error: broken");
});
