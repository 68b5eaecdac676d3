import { expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import type { Engine } from "./engine.ts";
import { longDown } from "./pending.ts";

/** As much of an engine as is looked at. */
const engineWith = (state: string, downSinceMs: number) => {
  const peer = {
    wanted: { name: "n0", address: parseAddress("192.0.2.1") },
    session: { state },
    downSinceMs,
  };
  return { speaker: { peers: new Map([["n0", peer]]) } } as unknown as Pick<Engine, "speaker">;
};

test.each<[string, string, number, number, boolean]>([
  ["an attempt may still get through", "Connect", 1000, 10_999, false],
  ["nobody waits longer than a first attempt lasts", "Active", 1000, 11_000, true],
  ["what fell just now is waited for, however long it was down before", "Active", 50_000, 50_001, false],
  ["what is up is not down, whenever it last was", "Established", 1000, 90_000, false],
])("%s", (_why, state, downSinceMs, nowMs, isLong) => {
  expect(longDown(engineWith(state, downSinceMs), nowMs)).toHaveLength(isLong ? 1 : 0);
});
