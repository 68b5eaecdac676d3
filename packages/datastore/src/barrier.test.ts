import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { BarrierResponder, type RaiseOptions, raiseBarrier } from "./barrier.ts";
import { type MemoryStore, memoryStore } from "./memory-store.ts";
import { type Store, StoreError } from "./store.ts";
import { Syncer } from "./syncer.ts";

const PREFIX = "/margay/v1/";
const sleep: RaiseOptions["sleep"] = (ms, signal) => wait(ms, undefined, { signal }).catch(() => {});

type Why = () => string | undefined;

/** A daemon that applies what it sees one batch later, unless `stuck` says why not. */
function daemon(
  store: Store,
  node: string,
  { stuck = () => undefined, note = () => undefined }: Partial<Record<"stuck" | "note", Why>> = {},
) {
  const seen = new Map<string, string>();
  const applied = new Map<string, string>();
  const responder = new BarrierResponder({
    store,
    node,
    daemon: "agent",
    sleep,
    note,
    async pending() {
      await wait(1);
      const why = stuck();
      if (why === undefined) for (const [key, value] of seen) applied.set(key, value);
      return why;
    },
  });
  const syncer = new Syncer({
    store,
    prefix: PREFIX,
    sleep,
    onBatch({ updates }) {
      for (const { key, entry } of updates) if (entry !== undefined) seen.set(key, entry.value);
      responder.feed(updates);
    },
  });
  void syncer.start();
  const stop = async () => {
    responder.stop();
    await syncer.stop();
  };
  return { applied, stop, [Symbol.asyncDispose]: stop };
}

const agentOn = (...nodes: string[]) => nodes.map((node) => ({ node, daemon: "agent" }));

const raise = (store: Store, nodes: string[], timeoutMs = 2000) =>
  raiseBarrier(store, { id: "b1", expected: agentOn(...nodes), timeoutMs, sleep });

describe("a barrier", () => {
  test("returns once everybody has applied all that was written before it", async () => {
    const store = memoryStore();
    await using n1 = daemon(store, "n1");
    await using n2 = daemon(store, "n2");
    for (let i = 0; i < 100; i++) await store.put(`${PREFIX}profiles/p${i}`, String(i));
    expect(await raise(store, ["n1", "n2"])).toEqual({ answered: agentOn("n1", "n2"), missing: [] });
    for (const { applied } of [n1, n2])
      for (let i = 0; i < 100; i++) expect(applied.get(`${PREFIX}profiles/p${i}`)).toBe(String(i));
  });

  test("says who is missing and why: one is stuck, one does not run", async () => {
    const store = memoryStore();
    await using _n1 = daemon(store, "n1");
    await using _n2 = daemon(store, "n2", { stuck: () => "iptables-restore: exit code 4" });
    expect(await raise(store, ["n1", "n2", "n3"], 400)).toEqual({
      answered: agentOn("n1"),
      missing: [
        { node: "n2", daemon: "agent", why: "iptables-restore: exit code 4" },
        {
          node: "n3",
          daemon: "agent",
          why: "no answer within 400 ms: is it running and connected to the datastore?",
        },
      ],
    });
  });

  test("a daemon that gets there while one waits is counted", async () => {
    const store = memoryStore();
    let why: string | undefined = "busy";
    await using _n1 = daemon(store, "n1", { stuck: () => why });
    const result = raise(store, ["n1"]);
    await wait(200);
    why = undefined;
    expect(await result).toEqual({ answered: agentOn("n1"), missing: [] });
  });

  test("a daemon started while the barrier stands answers too", async () => {
    const store = memoryStore();
    const result = raise(store, ["n1"]);
    await wait(50);
    await using _n1 = daemon(store, "n1");
    expect((await result).missing).toEqual([]);
  });

  test("a write that fails, or a watch that breaks, delays an answer and does not lose it", async () => {
    const store = memoryStore();
    await using _n1 = daemon(store, "n1");
    await wait(20);
    store.failNext({ afterWrites: 1, when: "before" }); // the barrier itself goes through, the first answer does not
    const result = raise(store, ["n1"]);
    await wait(1);
    store.disconnect();
    expect((await result).missing).toEqual([]);
  });

  test("an answer may say what it does not speak for", async () => {
    const store = memoryStore();
    const note = () => "session to 192.0.2.1 (n3) is Active";
    await using _n1 = daemon(store, "n1", { note });
    expect((await raise(store, ["n1"])).answered).toEqual([{ ...agentOn("n1")[0], note: note() }]);
  });

  test("nobody expected: returns at once", async () => {
    expect(await raise(memoryStore(), [])).toEqual({ answered: [], missing: [] });
  });

  test("an answer that is not understood is not taken for a yes", async () => {
    const store = memoryStore();
    const result = raise(store, ["n1"], 300);
    await store.put(`${PREFIX}barriers/b1/n1/agent`, "{}");
    expect((await result).missing).toMatchObject([
      { node: "n1", why: "answered {}, which is not understood" },
    ]);
  });

  test("every key of it has a lease: nothing stays behind", async () => {
    const store = memoryStore();
    const ttls: (number | undefined)[] = [];
    const note = <T extends [string, string, { ttlSeconds?: number }?]>(args: T): T => {
      ttls.push(args[2]?.ttlSeconds);
      return args;
    };
    const noting: Store = {
      ...store,
      create: (...args) => store.create(...note(args)),
      put: (...args) => store.put(...note(args)),
    };
    await using _n1 = daemon(noting, "n1");
    await raise(noting, ["n1"]);
    expect(ttls).toEqual([12, 12]);
    expect(await store.get(`${PREFIX}barriers/b1`)).toBeUndefined();
  });

  test("a store that is away when it is raised: the error gets out", async () => {
    const store: MemoryStore = memoryStore();
    store.failNext({ when: "before" });
    await expect(raise(store, ["n1"])).rejects.toBeInstanceOf(StoreError);
  });
});
