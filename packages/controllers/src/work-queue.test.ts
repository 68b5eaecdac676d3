import { expect, test } from "@jest/globals";
import { WorkQueue } from "./work-queue.ts";

test("two hundred thousand keys take no time worth a word: what is taken is not passed over again and again", async () => {
  const seen = new Set<string>();
  const queue = new WorkQueue({ settle: async (key) => void seen.add(key), onError: () => {} });
  queue.activate(Array.from({ length: 200_000 }, (_, i) => `/k/${i}`));
  await queue.settled();
  expect(seen.size).toBe(200_000);
}, 4000); // quadratic, it took 15 s

test("a key that is named while it is under way is looked at again, once, and never twice at a time", async () => {
  const log: string[] = [];
  const gates: (() => void)[] = [];
  const settle = async (key: string) => {
    log.push(`begin ${key}`);
    await new Promise<void>((resolve) => gates.push(resolve));
    log.push(`end ${key}`);
  };
  const queue = new WorkQueue({ settle, onError: () => {} });
  queue.activate(["a"]);
  queue.add(["a", "a"]);
  queue.add(["a"]);
  expect(log).toEqual(["begin a"]);
  gates.shift()?.();
  await Promise.resolve();
  await Promise.resolve();
  gates.shift()?.();
  await queue.settled();
  expect(log).toEqual(["begin a", "end a", "begin a", "end a"]);
});

test("who no longer leads finishes what is under way and begins nothing", async () => {
  const log: string[] = [];
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const settle = async (key: string) => {
    log.push(key);
    await gate;
  };
  const queue = new WorkQueue({ settle, onError: () => {} });
  queue.activate(Array.from({ length: 100 }, (_, i) => `${i}`));
  queue.add(["0"]); // again, but not any more
  const ended = queue.deactivate();
  open();
  await ended;
  queue.add(["late"]);
  expect(log).toEqual(Array.from({ length: 64 }, (_, i) => `${i}`));
});
