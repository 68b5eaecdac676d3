import { expect, test } from "@jest/globals";
import { until } from "./until.ts";

test.each([
  ["asks until something is found, and hands it out", [undefined, false, 7], 7],
  ["nothing may be what is found", [undefined, null], null],
])("%s", async (_why, answers, found) => {
  const left = [...answers];
  expect(await until(() => left.shift())).toBe(found);
  expect(left).toEqual([]);
});

test("a promise is asked for what it resolves to", async () => {
  expect(await until(async () => "so")).toBe("so");
});
