import { expect, test } from "@jest/globals";
import { Latency, type Turn } from "./latency.ts";

const quiet: Turn = { changed: false, isUndecided: false, told: false, owes: false };

test.each<[string, readonly Partial<Turn>[], readonly number[]]>([
  ["decided and told in one turn", [{ changed: true, told: true }], [15]],
  ["nothing changed, and another peer is told its table meanwhile: not counted", [{ told: true }], []],
  ["changed, and nobody is there to be told", [{ changed: true }], []],
  [
    "decided in slices: when the last is told",
    [
      { changed: true, told: true, isUndecided: true },
      { changed: true, told: true },
    ],
    [25],
  ],
  ["all sockets are full: when one takes it", [{ changed: true, owes: true }, { told: true }], [25]],
])("%s", (_why, turns, took) => {
  const latency = new Latency<string>();
  latency.heard("a", () => 0);
  latency.heard("a", () => 5); // the first counts
  const seen = turns.flatMap((turn, i) => latency.turned({ ...quiet, ...turn }, 15 + 10 * i));
  expect(seen).toEqual(took.map((ms) => ["a", ms]));
  expect(latency.turned({ ...quiet, changed: true, told: true }, 99)).toEqual([]);
});
