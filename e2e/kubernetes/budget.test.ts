import { readdirSync } from "node:fs";
import { expect, test } from "@jest/globals";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { allowed, forBuilding, minutes, next } from "./budget.mjs";

const files = (...names: string[]) => names.map((name) => `e2e/kubernetes/${name}.spec.ts`);
const ALL = files("bundled", "calico", "chart", "external", "install", "moving", "objects", "services");

/** Which files are run, when each takes so many minutes. */
function run(left: number, each: number): string[] {
  const waiting = [...ALL];
  const done: string[] = [];
  for (let file = next(waiting, left); file; file = next(waiting, left)) {
    waiting.splice(waiting.indexOf(file), 1);
    done.push(file.replace(/.*\/(.*)\.spec\.ts/, "$1"));
    left -= each;
  }
  return done;
}

test.each<[string, number, number, string[]]>([
  [
    "no bound: all, one cluster's life first",
    Number.POSITIVE_INFINITY,
    25,
    ["install", "objects", "services", "bundled", "external", "moving", "calico", "chart"],
  ],
  [
    "what CI leaves, on the usual machine: all of them",
    45,
    3,
    ["install", "objects", "services", "bundled", "external", "moving", "calico", "chart"],
  ],
  ["no time for a long one any more: the short ones are run", 20, 6, ["install", "services"]],
  ["less than the shortest may take", 9.9, 1, []],
  ["npm test has taken all of it", -5, 1, []],
])("%s", (_why, left, each, expected) => expect(run(left, each)).toEqual(expected));

test("a file is never begun that may end after the time, however slow the others were", () => {
  for (let left = 0; left < 100; left += 0.7)
    for (const file of ALL) if (next([file], left)) expect(allowed(file)).toBeLessThanOrEqual(left);
});

test("every file of tests has its time, and no other has", () => {
  const there = readdirSync(new URL(".", import.meta.url)).filter((name) => name.endsWith(".spec.ts"));
  expect(there.map((name) => `e2e/kubernetes/${name}`).sort()).toEqual(ALL);
  expect(ALL.map((file) => allowed(file))).toEqual([15, 15, 10, 10, 10, 15, 15, 10]);
});

test.each([
  ["no bound", ALL, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  ["the rest and the shortest file fit after it", ALL, 50, 35],
  ["one long file alone is wanted", files("objects"), 50, 30],
  ["none: it would be built for nothing", ALL, 14, 0],
])("the tools may take so long: %s", (_why, wanted, left, expected) =>
  expect(forBuilding(wanted, left)).toBe(expected),
);

test.each([
  [undefined, Number.POSITIVE_INFINITY],
  ["51", 51],
  ["-3", -3],
])("%s is that many minutes", (text, expected) => expect(minutes(text)).toBe(expected));
test.each(["", "soon"])("%j is none", (text) => expect(() => minutes(text)).toThrow("no number of minutes"));
