import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { placeIn } from "./sorted.ts";

test("put in its place, every one of them, the list is the sorted list", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9)), (numbers) => {
      const list: number[] = [];
      for (const one of numbers)
        list.splice(
          placeIn(list, (other) => other < one),
          0,
          one,
        );
      expect(list).toEqual(numbers.toSorted());
    }),
  );
});

test("of equal ones the first is found", () => {
  expect(placeIn([1, 3, 3, 5], (one) => one < 3)).toBe(1);
});
