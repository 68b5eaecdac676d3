import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { releaseFilePages } from "./memory.ts";

/** kB by field of /proc/self/status. */
const status = (field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

test("the pages of the program's text go, those that hold data stay, and the program runs on", () => {
  const before = { file: status("RssFile"), data: status("RssAnon") };
  const keep = Buffer.alloc(8 << 20, 7);
  const released = releaseFilePages();
  const after = { file: status("RssFile"), data: status("RssAnon") };
  expect(released).toBeGreaterThan(10_000);
  expect(after.file).toBeLessThan(before.file - released / 2); // some is in use again already
  expect(after.data).toBeGreaterThanOrEqual(before.data);
  expect(keep.every((byte) => byte === 7)).toBe(true);
  expect(releaseFilePages()).toBeLessThan(released);
});
