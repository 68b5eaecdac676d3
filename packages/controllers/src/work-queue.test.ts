import { expect, test } from "@jest/globals";
import { WorkQueue } from "./work-queue.ts";

/** CPU time in ms that so many keys take. */
async function costOf(keys: number): Promise<number> {
  let seen = 0;
  const queue = new WorkQueue({ settle: async () => void seen++, onError: () => {} });
  const names = Array.from({ length: keys }, (_, i) => `/k/${i}`);
  const before = process.cpuUsage();
  queue.activate(names);
  await queue.settled();
  const { user, system } = process.cpuUsage(before);
  expect(seen).toBe(keys);
  return (user + system) / 1000;
}

test("a key costs the same however many wait: what is taken is not passed over again and again", async () => {
  await costOf(20_000); // compiled
  const [few, many] = [await costOf(20_000), await costOf(200_000)];
  expect(many / few).toBeLessThan(40); // ten times as many; quadratic, it is a hundred times as much
});

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
