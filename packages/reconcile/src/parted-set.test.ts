import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { PartedSet, partsOfSet, sameMembers, setDifference } from "./parted-set.ts";

/** From below the size at which it is parted to above, and back. */
const range = fc.record({ from: fc.nat(2500), count: fc.nat(1600), isThere: fc.boolean() });
const members = ({ from, count }: { from: number; count: number }) =>
  Array.from({ length: count }, (_, i) => `10.0.${(from + i) >> 8}.${(from + i) & 255}`);

test("holds what a plain one would, and the one before the edits is as it was", () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 5 }), (all) => {
      let [parted, plain] = [PartedSet.empty, new Set<string>()];
      for (const one of all) {
        const [before, formerly] = [parted, new Set(plain)];
        for (const member of members(one)) one.isThere ? plain.add(member) : plain.delete(member);
        parted = parted.edited(members(one).map((member) => [member, one.isThere] as const));
        expect(new Set(parted)).toEqual(plain);
        expect([parted.size, before.size]).toEqual([plain.size, formerly.size]);
        expect([...plain].every((member) => parted.has(member))).toBe(true);
        expect(new Set(before)).toEqual(formerly);
        const { gone, fresh } = setDifference(before, parted);
        expect(new Set(gone)).toEqual(new Set([...formerly].filter((member) => !plain.has(member))));
        expect(new Set(fresh)).toEqual(new Set([...plain].filter((member) => !formerly.has(member))));
        expect(setDifference(formerly, parted).fresh.length).toBe(fresh.length); // with one that is not parted, too
        expect(sameMembers(before, parted)).toBe(gone.length + fresh.length === 0);
      }
    }),
    { numRuns: 12 },
  );
});

test("one member more of many is one other part; nothing more is the same object", () => {
  const all = members({ from: 0, count: 3000 }).map((member) => [member, true] as const);
  const before = PartedSet.empty.edited(all);
  const now = before.edited([["192.0.2.1", true]]);
  const other = [...now.parts].filter(([id, part]) => before.parts.get(id) !== part);
  expect(other.length).toBe(1);
  expect(before.edited(all)).toBe(before);
  expect(partsOfSet(now)).toBe(now.parts);
});
