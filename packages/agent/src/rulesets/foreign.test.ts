import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { NetlinkError } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { ForeignChanges } from "./foreign.ts";
import type { Ruleset } from "./ruleset.ts";

const ignore = () => undefined;
const refused = new NetlinkError("EPERM", "list sets");

/** Seconds between looks, of those within 20 s: each takes so much of the processor, and some are refused. */
async function pauses({ cpuMs = 0, refusals = 0 }): Promise<readonly number[]> {
  const looks: number[] = [];
  jest.spyOn(process, "cpuUsage").mockReturnValue({ user: cpuMs * 500, system: cpuMs * 500 });
  const changedSets = async () => {
    looks.push(Date.now());
    if (looks.length <= refusals) throw refused;
    return [];
  };
  const foreign = new ForeignChanges({ onForeign: ignore, onFilter: ignore, onError: ignore });
  foreign.written({ kind: "nftables", changedSets } as Partial<Ruleset> as Ruleset);
  await jest.advanceTimersByTimeAsync(20_000);
  foreign.close();
  return looks.slice(1).map((at, i) => (at - (looks[i] ?? 0)) / 1000);
}

unshared(import.meta.url, () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => {
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  test.each<[why: string, world: Parameters<typeof pauses>[0], expected: readonly number[]]>([
    ["nothing to do: every 400 ms", {}, [0.4, 0.4, 0.4, 0.4]],
    ["30 ms of work: 3 % of a processor", { cpuMs: 30 }, [1, 1, 1, 1]],
    ["whatever else worked meanwhile: every 5 s", { cpuMs: 3000 }, [5, 5]],
    ["refused: more seldom each time, up to that", { refusals: 9 }, [0.8, 1.6, 3.2, 5]],
    ["refused no more", { refusals: 2 }, [0.8, 1.6, 0.4, 0.4]],
  ])("sets are looked at: %s", async (_why, world, expected) => {
    expect((await pauses(world)).slice(0, expected.length)).toEqual(expected);
  });
});
