import { expect, test } from "@jest/globals";
import { kept, summary } from "./result.ts";

test("percentiles are samples, by nearest rank; a hundredth of 100 samples is one of them", () => {
  const samples = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(summary(samples)).toEqual({ n: 100, p50: 50, p99: 99, max: 100 });
  expect(summary([7.123])).toEqual({ n: 1, p50: 7.12, p99: 7.12, max: 7.12 });
  expect(() => summary([])).toThrow(RangeError);
});

test("a target is kept up to and including its figure", () => {
  const result = { benchmark: "x", subject: "margay", unit: "ms", n: 1, p50: 10, p99: 51, max: 51 } as const;
  expect(kept(result)).toBeUndefined();
  expect(kept({ ...result, target: { of: "p50", atMost: 10 } })).toBe(true);
  expect(kept({ ...result, target: { of: "p99", atMost: 50 } })).toBe(false);
});
