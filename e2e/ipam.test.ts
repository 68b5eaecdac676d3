import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { formatLine, judge, type Kind, parseLines } from "./ipam/history.ts";

/** "n1.a assigned 10.0.0.1" and so on, in this order. */
function history(...words: string[]) {
  return words.map((text, i) => {
    const [handle = "", kind = "", addresses = ""] = text.split(" ");
    return { at: BigInt(i), kind: kind as Kind, handle, addresses: addresses.split(",").filter(Boolean) };
  });
}

describe("the judge of histories", () => {
  test.each<[why: string, words: string[], violations: string[]]>([
    ["one after the other", ["n1.a assigned x", "n1.a release", "n1.a released", "n2.b assigned x"], []],
    [
      "the release was called, its answer not seen: it may have happened",
      ["n1.a assigned x", "n1.a release", "n2.b assigned x"],
      [],
    ],
    [
      "two at one time",
      ["n1.a assigned x,y", "n2.b assigned z", "n2.c assigned y"],
      ["2: y was given to n2.c while n1.a held it"],
    ],
    [
      "a killed process still holds",
      ["n1.a assigned x", "n1.a assign", "n2.b assigned x"],
      ["2: x was given to n2.b while n1.a held it"],
    ],
    ["the node was deleted", ["n1.a assigned x", "n1 delete-node", "n2.b assigned x"], []],
    [
      "another node was deleted",
      ["n1.a assigned x", "n11 delete-node", "n2.b assigned x"],
      ["2: x was given to n2.b while n1.a held it"],
    ],
    ["the same again", ["n1.a assigned x", "n1.a assign", "n1.a assigned x"], []],
    ["not the same again", ["n1.a assigned x", "n1.a assigned y"], ["1: n1.a had x and was given y"]],
  ])("%s", (_why, words, violations) => {
    const lines = history(...words);
    expect(judge(lines.toReversed()).violations).toEqual(violations);
    expect(parseLines(lines.map(formatLine).join(""))).toEqual(lines);
  });

  test.each<[why: string, words: string[], end: object]>([
    ["answered", ["n1.a assign", "n1.a assigned x"], { kind: "held", addresses: ["x"] }],
    ["killed in an assign", ["n1.a assign"], { kind: "unknown" }],
    ["killed in a release", ["n1.a assigned x", "n1.a release"], { kind: "unknown" }],
    ["released", ["n1.a assigned x", "n1.a release", "n1.a released"], { kind: "free" }],
  ])("in the end: %s", (_why, words, end) => {
    expect(judge(history(...words)).end.get("n1.a")).toEqual(end);
  });

  test("a line cut off by a kill is none", () => {
    expect(parseLines("1 assigned n1.a x\n2 assigned n1.b y")).toHaveLength(1);
  });
});

test("8 processes on one etcd, killed, their nodes deleted, their pools changed: no address twice, nothing lost", async () => {
  const soak = fileURLToPath(new URL("ipam/soak.ts", import.meta.url));
  const seed = String(fc.readConfigureGlobal().seed);
  const options = ["--operations", "1500", "--every", "50", "--seed", seed];
  const words = ["--conditions=margay-source", "--no-warnings", soak, ...options];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, words).catch((error) => error);
  expect({ seed, stdout, stderr }).toEqual({
    ...{ seed, stderr: "" },
    stdout: expect.stringMatching(/^\{"seed":\d+,"operations":\d+,.*"violations":0\}\n$/),
  });
}, 60_000);
