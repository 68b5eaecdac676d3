import { expect, test } from "@jest/globals";
import { Pace } from "./pace.ts";

interface Row {
  /** CPU time of the turns before; only the last of them leaves nothing owed. */
  readonly turns: readonly number[];
  /** How long each of them was; without: as long as its CPU time. */
  readonly each?: number;
  /** Sessions came up at these times; the turns ended at 1000. */
  readonly arrivals: readonly number[];
  readonly asked: number;
  readonly waits: number;
}

test.each<[string, Row]>([
  ["nothing was done yet: no reason to wait", { turns: [], arrivals: [999], asked: 1000, waits: 0 }],
  ["a cheap turn: none", { turns: [4.9], arrivals: [], asked: 1000, waits: 0 }],
  ["as long as the turn took", { turns: [8], arrivals: [], asked: 1000, waits: 8 }],
  ["of which some is over", { turns: [8], arrivals: [], asked: 1003, waits: 5 }],
  [
    "not for what other threads took meanwhile, which no turn is as long as",
    { turns: [8], each: 0.3, arrivals: [], asked: 1000, waits: 0 },
  ],
  ["nor for what others took of the machine", { turns: [4], each: 40, arrivals: [], asked: 1000, waits: 0 }],
  [
    "20 ms at most: peers that are up do not wait for long",
    { turns: [400], arrivals: [], asked: 1000, waits: 20 },
  ],
  ["turns that owed more count as one", { turns: [4, 3, 2], arrivals: [], asked: 1000, waits: 9 }],
  ["a session came up: nine times as long", { turns: [2], arrivals: [990], asked: 1000, waits: 18 }],
  [
    "a cheap turn is no reason to wait for others",
    { turns: [0.1], arrivals: [999], asked: 1000, waits: 0.9 },
  ],
  ["nobody follows: 30 ms after the last one", { turns: [40], arrivals: [999], asked: 1000, waits: 29 }],
  ["others follow: it is put off", { turns: [40], arrivals: [999, 1020], asked: 1025, waits: 25 }],
  ["for half a second at most", { turns: [80], arrivals: [1490], asked: 1490, waits: 10 }],
])("%s", (_why, { turns, each, arrivals, asked, waits }) => {
  const pace = new Pace();
  for (const [i, cpu] of turns.entries())
    pace.worked(cpu, { began: 1000 - (each ?? cpu), now: 1000, owesMore: i < turns.length - 1 });
  for (const at of arrivals) pace.arrived(at);
  expect(pace.wait(asked)).toBeCloseTo(waits, 6);
});
