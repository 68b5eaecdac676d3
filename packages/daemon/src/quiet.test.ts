import { expect, test } from "@jest/globals";
import { isDue } from "./quiet.ts";

test.each<[why: string, seen: Parameters<typeof isDue>[0], due: boolean]>([
  ["start-up is over", { cpuMs: 600, actedAtMs: 0, beforeMs: 590 }, true],
  ["it is still starting", { cpuMs: 600, actedAtMs: 0, beforeMs: 0 }, false],
  ["nothing was done since the last time", { cpuMs: 700, actedAtMs: 600, beforeMs: 695 }, false],
  ["much was done, and now nothing is", { cpuMs: 5000, actedAtMs: 600, beforeMs: 4990 }, true],
  ["much is being done", { cpuMs: 5000, actedAtMs: 600, beforeMs: 3000 }, false],
])("%s", (_why, seen, due) => {
  expect(isDue(seen)).toBe(due);
});
