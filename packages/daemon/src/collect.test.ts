import { setImmediate } from "node:timers/promises";
import { expect, test } from "@jest/globals";
import { collectGarbage } from "./collect.ts";

test("what nobody refers to any more is gone at once", async () => {
  const held = new WeakRef({});
  await setImmediate(); // a WeakRef keeps its target for the rest of the turn
  collectGarbage();
  expect(held.deref()).toBeUndefined();
});
