import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { Handover } from "./handover.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test("ours stays three seconds after the agent was given a destination; one taken back is ours at once", () => {
  const ended = jest.fn();
  const handover = new Handover(ended);
  handover.set(new Set(["a"]));
  expect(handover.isLeft("a")).toBe(true); // at the start nothing of ours is there to keep
  handover.set(new Set(["a", "b", "c"]));
  expect(["a", "b", "c"].map((key) => handover.isLeft(key))).toEqual([true, false, false]);
  jest.advanceTimersByTime(2000);
  handover.set(new Set(["a", "b"]));
  expect(handover.isLeft("c")).toBe(false);
  expect(ended).not.toHaveBeenCalled();
  jest.advanceTimersByTime(1000);
  expect(ended).toHaveBeenCalledTimes(1);
  expect(handover.isLeft("b")).toBe(true);
  handover.set(new Set());
  expect(handover.isLeft("a")).toBe(false);
});
