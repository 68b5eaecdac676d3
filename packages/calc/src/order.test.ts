import { expect, test } from "@jest/globals";
import { changedById, findById } from "./order.ts";

const [a, b, c] = ["a", "b", "c"].map((id) => ({ id }));
const b2 = { id: "b" };

test.each<[why: string, before: object[], now: object[], gone: object[], came: object[]]>([
  ["nothing", [a, b, c], [a, b, c], [], []],
  ["all, at first", [], [a, b], [], [a, b]],
  ["all, at last", [a, b], [], [a, b], []],
  ["one between others", [a, c], [a, b, c], [], [b]],
  ["the first and the last", [a, b, c], [b], [a, c], []],
  ["one that is another object: in both", [a, b, c], [a, b2, c], [b], [b2]],
  ["one for another", [a, b], [b, c], [a], [c]],
] as never)("what came and went: %s", (_why, before, now, gone, came) => {
  expect(changedById(before as { id: string }[], now as { id: string }[])).toEqual({ gone, came });
});

test("one is found by its id, and none by another", () => {
  const all = [a, b, c].flatMap((one) => one ?? []);
  expect(all.map(({ id }) => findById(all, id))).toEqual(all);
  for (const id of ["", "aa", "d"]) expect(findById(all, id)).toBeUndefined();
});
