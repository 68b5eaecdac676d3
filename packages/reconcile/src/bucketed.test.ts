import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { Bucketed } from "./bucketed.ts";
import { changedKeys, Parts } from "./parts.ts";

const edit = fc.tuple(fc.nat(400).map(String), fc.option(fc.constantFrom("1", "2"), { nil: undefined }));
const edits = fc.array(edit, { maxLength: 60 });

function plainly(map: ReadonlyMap<string, string>, some: Iterable<readonly [string, string | undefined]>) {
  const now = new Map(map);
  for (const [key, value] of some)
    if (value === undefined) now.delete(key);
    else now.set(key, value);
  return now;
}

describe("a map in buckets", () => {
  test("holds what a plain one would, and the one before the edits is as it was", () => {
    fc.assert(
      fc.property(fc.array(edits, { maxLength: 4 }), (all) => {
        let [bucketed, plain] = [Bucketed.empty<string>(), new Map<string, string>()];
        for (const some of all) {
          const before = bucketed;
          bucketed = bucketed.edited(some);
          expect(new Map(before)).toEqual(plain);
          const changed = [...new Set([...plain.keys(), ...some.map(([key]) => key)])];
          const now = plainly(plain, some);
          expect(changedKeys(before, bucketed)).toEqual(
            new Set(changed.filter((key) => plain.get(key) !== now.get(key))),
          );
          plain = now;
          expect(new Map(bucketed)).toEqual(plain);
          expect([bucketed.size, ...plain.keys()]).toEqual([
            plain.size,
            ...[...plain.keys()].filter((key) => bucketed.get(key) === plain.get(key)),
          ]);
          expect(bucketed.has("nobody's")).toBe(false);
        }
      }),
      { seed: 7 },
    );
  });

  test("edits that change nothing make no other map, so that nothing is compared", () => {
    const map = Bucketed.empty<string>().edited([["a", "1"]]);
    expect(map.edited([["a", "1"]])).toBe(map);
    expect(map.edited([["b", undefined]])).toBe(map);
  });

  test("one edit of ten thousand keys leaves all parts but one", () => {
    const keys = Array.from({ length: 10_000 }, (_, n) => [`gnp/policy-${n}`, "1"] as const);
    const before = Bucketed.empty<string>().edited(keys);
    const after = before.edited([["gnp/policy-17", "2"]]);
    const others = [...after.parts].filter(([id, part]) => before.parts.get(id) !== part);
    expect(others.map(([, part]) => part.size > 10 && part.size < 100)).toEqual([true]);
  });
});

test("a key that only moved to another part has not changed", () => {
  const [a, b] = [new Map([["k", 1]]), new Map([["k", 1]])];
  expect(changedKeys(new Parts(new Map([["a", a]])), new Parts(new Map([["b", b]])))).toEqual(new Set());
});
