import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { Compilers, compileInIdleTime } from "./background.ts";

/** proc_pid_stat(5): field 19, counted from behind the name, which may hold anything. */
const niceOf = (id: string): number => {
  const stat = readFileSync(`/proc/self/task/${id}/stat`, "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
};

const isV8s = (id: string) => readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith("V8Worker");
const v8s = () => readdirSync("/proc/self/task").filter(isV8s);

test("V8's threads get the lowest priority, and no other thread another than it has", () => {
  const before = new Map(readdirSync("/proc/self/task").map((id) => [id, niceOf(id)]));
  const others = [...before.keys()].filter((id) => !isV8s(id));
  expect(v8s()).not.toEqual([]);
  expect(compileInIdleTime()).toBe(v8s().length);
  expect(v8s().map(niceOf)).toEqual(v8s().map(() => 19));
  expect(others.map(niceOf)).toEqual(others.map((id) => before.get(id)));
});

/** Neither the default nor the lowest. */
const own = 7;

/** The priorities of V8's threads; `expected` at the latest when the process has had nothing to do for a minute. */
async function nicesAre(expected: number): Promise<void> {
  for (const end = performance.now() + 60_000; ; await delay(20)) {
    const seen = new Set(v8s().map(niceOf));
    if (performance.now() > end || (seen.size === 1 && seen.has(expected)))
      return expect(seen).toEqual(new Set([expected]));
  }
}

/** Only root may give priority back. */
(process.getuid?.() === 0 ? describe : describe.skip)("a lot of work at once, now and then", () => {
  const before = getPriority();
  beforeAll(() => setPriority(own));
  afterAll(() => {
    for (const id of [process.pid, ...v8s()]) setPriority(Number(id), before);
  });

  test("V8's threads have idle time, and time like its own from a load of more than a moment until that is over", async () => {
    const compilers = Compilers.open();
    await nicesAre(19);
    compilers?.look(); // a load begins
    for (const end = performance.now() + 200; performance.now() < end; );
    compilers?.look();
    expect(v8s().map(niceOf)).toEqual(v8s().map(() => own));
    await nicesAre(19);
  });

  test.each([
    ["who may", "+sys_nice", "true 19"],
    ["who may not take a priority back leaves all as they are", "-sys_nice", `false ${own}`],
  ])("%s", (_who, caps, expected) => {
    const source = `
      import { readdirSync, readFileSync } from "node:fs";
      import { getPriority } from "node:os";
      import { Compilers } from "${new URL("background.ts", import.meta.url).href}";
      const isOpen = Compilers.open() !== undefined;
      const isV8s = (id) => readFileSync("/proc/self/task/" + id + "/comm", "utf8").startsWith("V8Worker");
      console.log(isOpen, ...new Set(readdirSync("/proc/self/task").filter(isV8s).map((id) => getPriority(Number(id)))));`;
    const words = [`--bounding-set=${caps}`, "--", process.execPath, "--conditions=margay-source"];
    const node = [...words, "--no-warnings", "--input-type=module", "-e", source];
    expect(execFileSync("setpriv", node, { encoding: "utf8" })).toBe(`${expected}\n`);
  });
});
