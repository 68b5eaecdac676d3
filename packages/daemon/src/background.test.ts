import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { compileInIdleTime } from "./background.ts";

/** proc_pid_stat(5): field 19, counted from behind the name, which may hold anything. */
const niceOf = (id: string): number => {
  const stat = readFileSync(`/proc/self/task/${id}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
};

test("V8's threads get the lowest priority, and no other thread another than it has", () => {
  const before = new Map(readdirSync("/proc/self/task").map((id) => [id, niceOf(id)]));
  const isV8s = (id: string) => readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("V8Worker");
  const [v8s, others] = [[...before.keys()].filter(isV8s), [...before.keys()].filter((id) => !isV8s(id))];
  expect(v8s).not.toEqual([]);
  expect(compileInIdleTime()).toBe(v8s.length);
  expect(v8s.map(niceOf)).toEqual(v8s.map(() => 19));
  expect(others.map(niceOf)).toEqual(others.map((id) => before.get(id)));
});
