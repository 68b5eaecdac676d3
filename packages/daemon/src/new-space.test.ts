import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";

/** A process that keeps a part of what it makes, as a first list does. @returns MB of its space for new objects in the end */
function newSpaceMB(...calls: readonly ("look" | "end")[]): number {
  const script = `
    const { getHeapSpaceStatistics } = await import("node:v8");
    const { NewSpaceBound } = await import("${new URL("new-space.ts", import.meta.url)}");
    const [kept, bound] = [[], new NewSpaceBound()];
    const fill = (call) => {
      for (let part = 0; part < 200; part++) {
        for (let i = 0; i < 5000; i++) kept.push({ i, text: [i, i, i, i, i, i, i, i], dead: { i } }.text);
        if (call) bound[call]();
      }
      kept.length = 0;
    };
    for (const call of ${JSON.stringify(calls.length > 0 ? calls : [""])}) fill(call);
    console.log(getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size >> 20);`;
  // V8's own choice goes by the machine's memory, and how far the space grows by what its threads are busy with
  const heap = ["--max-semi-space-size=64", "--single-threaded-gc"];
  const words = [...heap, "--conditions=margay-source", "--no-warnings", "--input-type=module", "-e", script];
  return Number(execFileSync(process.execPath, words, { encoding: "utf8" }));
}

test("the space for new objects does not grow past what is enough while somebody looks, and then as ever", () => {
  expect(newSpaceMB()).toBeGreaterThanOrEqual(64);
  expect(newSpaceMB("look")).toBeLessThanOrEqual(32);
  expect(newSpaceMB("look", "end")).toBeGreaterThanOrEqual(64);
});

test("the space for new objects is 8 MB in each half once it is settled, and stays so", () => {
  const script = `
    const { getHeapSpaceStatistics } = await import("node:v8");
    const { settleNewSpace } = await import("${new URL("new-space.ts", import.meta.url)}");
    const size = () => getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size >> 20;
    settleNewSpace();
    const settled = size();
    const kept = [];
    for (let i = 0; i < 1e6; i++) kept.push({ i, list: [i] });
    console.log(JSON.stringify([settled, size()]));`;
  const words = ["--semi-space-growth-factor=1", "--conditions=margay-source", "--no-warnings"];
  const out = execFileSync(process.execPath, [...words, "--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  expect(JSON.parse(out)).toEqual([16, 16]); // both halves
});
