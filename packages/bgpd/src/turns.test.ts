import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { until } from "@margay/testing";
import { Turns } from "./turns.ts";

/** Turns whose work owes more as often as `owed` says; `taken` counts them. */
function counted(owed = 0) {
  const seen = { taken: 0 };
  const turns = new Turns(() => ++seen.taken <= owed);
  return { turns, seen };
}
/** Until none is due, and a while longer, for one more that would be wrong. */
async function idle(turns: Turns): Promise<void> {
  await until(() => !turns.isDue);
  await delay(50);
}

test("however often it is asked for, one turn is taken, and not at once: what comes with the same event belongs to it", async () => {
  const { turns, seen } = counted();
  for (let i = 0; i < 10; i++) turns.ask();
  expect([seen.taken, turns.isDue]).toEqual([0, true]);
  await idle(turns);
  expect([seen.taken, turns.isDue]).toEqual([1, false]);
});

test("all that comes is heard of at once, and what is owed still", async () => {
  const seen = { asked: 0, owed: 2 };
  const turns = new Turns(
    () => seen.owed-- > 0,
    () => seen.asked++,
  );
  turns.ask();
  turns.ask();
  expect(seen.asked).toBe(2);
  await idle(turns);
  expect(seen.asked).toBe(4);
});

test("what is owed still is another turn, unasked", async () => {
  const { turns, seen } = counted(3);
  turns.ask();
  await idle(turns);
  expect(seen.taken).toBe(4);
});

test("a turn may ask for the next", async () => {
  const seen = { taken: 0 };
  const turns: Turns = new Turns(() => {
    if (++seen.taken < 3) turns.ask();
    return false;
  });
  turns.ask();
  await idle(turns);
  expect(seen.taken).toBe(3);
});

test("stopped, none is taken, not even one that was due", async () => {
  const { turns, seen } = counted();
  turns.ask();
  turns.stop();
  turns.ask();
  await idle(turns);
  expect(seen.taken).toBe(0);
});
