import { expect, test } from "@jest/globals";
import { didYouMean } from "./meant.ts";

const NAMES = ["shop/db", "shop/web", "shop/web-1", "n1"];

test.each<[why: string, word: string, said: string]>([
  ["a letter too many", "shop/dbb", ", did you mean shop/db?"],
  ["one too few", "sho/db", ", did you mean shop/db?"],
  ["two in the wrong order are one slip", "shop/wbe", ", did you mean shop/web?"],
  ["the closest first", "shop/web-2", ", did you mean shop/web-1 or shop/web?"],
  ["a short word bears one slip", "n2", ", did you mean n1?"],
  ["and no two", "m2", ""],
  ["three slips are another word", "shop/dbxyz", ""],
])("%s: %s", (_why, word, said) => {
  expect(didYouMean(word, NAMES)).toBe(said);
});
