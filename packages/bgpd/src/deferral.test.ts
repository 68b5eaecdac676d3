import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { type Awaited, Deferral } from "./deferral.ts";
import type { Presence } from "./presence.ts";
import { quiet } from "./testing/speakers.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** A peer whose session is up, by its R bit and whether it has said End-of-RIB. */
const peer = (restarting: boolean, hasSaid: boolean): Awaited => {
  const negotiated = { gracefulRestart: { restarting }, families: [4] };
  const presence = { negotiated, ended: new Set(hasSaid ? [4] : []) } as unknown as Presence; // all that is asked for
  return { presence, hopeless: false };
};
const away: Awaited = { presence: undefined, hopeless: false };

test.each<[string, readonly Awaited[], number]>([
  ["all have said it: at once", [peer(false, true), peer(true, true)], 0],
  [
    "one that restarts itself may wait for us, or have much to say: 5 s",
    [peer(false, true), peer(true, false)],
    5,
  ],
  ["one that does not has not said it: the whole time", [peer(false, false), peer(true, true)], 120],
  ["one is not there: the whole time", [peer(true, false), away], 120],
])("RFC 4724 §4.1 %s", (_why, peers, seconds) => {
  const over: string[] = [];
  const deferral: Deferral = new Deferral({
    ...{ log: quiet, restarting: true, onOver: () => over.push("over") },
    onImpatient: () => deferral.check(peers, false),
  });
  deferral.check(peers, false);
  if (seconds > 0) jest.advanceTimersByTime(seconds * 1000 - 1);
  expect(over.length).toBe(seconds === 0 ? 1 : 0);
  jest.advanceTimersByTime(1);
  expect([over.length, deferral.isActive]).toEqual([1, false]);
});

test("it is gone before its time is over and comes back: waited for once more", () => {
  let peers = [peer(true, false)];
  const deferral: Deferral = new Deferral({
    ...{ log: quiet, restarting: true, onOver: () => {} },
    onImpatient: () => deferral.check(peers, false),
  });
  deferral.check(peers, false);
  jest.advanceTimersByTime(4000);
  deferral.check([away], false);
  peers = [peer(true, false)];
  deferral.check(peers, false);
  jest.advanceTimersByTime(4999);
  expect(deferral.isActive).toBe(true);
  jest.advanceTimersByTime(1);
  expect(deferral.isActive).toBe(false);
});
