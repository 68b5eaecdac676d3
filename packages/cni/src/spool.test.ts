import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Reply } from "./frame.ts";
import { type Invocation, parseCall } from "./invocation.ts";
import { DONE } from "./result.ts";
import { Spool } from "./spool.ts";

const call = (command: string): Invocation =>
  parseCall({
    env: {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/c1", CNI_IFNAME: "eth0" },
      MARGAY_ARGV0: "margay-cni",
    },
    stdin: Buffer.from('{"cniVersion":"1.1.0","name":"net"}'),
  });

const refusal = (code: number): Reply => ({ exitCode: 1, stdout: JSON.stringify({ code, msg: "no" }) });

describe("a DEL that is answered first", () => {
  let directory: string;
  let served: string[];
  let bad: unknown[];
  let clock: number;
  const FILE = "c1.eth0.margay-cni.8f26920a";
  beforeEach(() => {
    clock = 0;
    directory = mkdtempSync(join(tmpdir(), "margay-spool-"));
    [served, bad] = [[], []];
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** Serves each call after `ms`, DEL with the answer given. */
  const spoolOf = (ms: number, answers: Reply[]) =>
    new Spool({
      directory,
      answersFirst: true,
      now: () => clock,
      onBadCall: (error) => bad.push(error),
      handle: async ({ command, netns }) => {
        await sleep(ms);
        served.push(`${command} ${netns ?? "-"}`);
        return command === "DEL" ? (answers.shift() ?? DONE) : DONE;
      },
    });
  const kept = () => readdirSync(directory);
  /** The first call has been served, and what came of it is known. */
  const settled = async () => {
    while (served.length === 0) await sleep(5);
    await sleep(0);
  };

  test("success, and it is kept until it is done, without the path that may be another's by then", async () => {
    const spool = spoolOf(100, []);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    expect([kept(), served]).toEqual([[FILE], []]);
    expect(await spool.drain()).toBe(1); // under way already: not begun a second time
    await settled();
    expect([kept(), served]).toEqual([[], ["DEL -"]]);
  });

  test("in vain for now: it stays kept, is tried again, and an ADD of the container comes after it", async () => {
    const spool = spoolOf(60, [refusal(11)]);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    await settled();
    expect(kept()).toEqual([FILE]);
    expect(await spool.handle(call("ADD"))).toEqual(DONE);
    expect(served).toEqual(["DEL -", "DEL -", "ADD /run/netns/c1"]);
    expect(kept()).toEqual([]);
  });

  test("an ADD that finds no address tries again when it is done", async () => {
    let isFree = false;
    const spool = new Spool({
      directory,
      answersFirst: true,
      now: () => clock,
      onBadCall: (error) => bad.push(error),
      handle: async ({ command }) => {
        if (command === "ADD") return isFree ? DONE : refusal(100);
        await sleep(60);
        isFree = true;
        return DONE;
      },
    });
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    const other = { ...call("ADD"), containerId: "c2" };
    expect([isFree, await spool.handle(other), isFree]).toEqual([false, DONE, true]);
  });

  test.each([1, 4, 6, 7])("in vain for ever (%i): it is told and thrown away", async (code) => {
    const spool = spoolOf(0, [refusal(code)]);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    await settled();
    expect([kept(), bad.length]).toEqual([[], 1]);
  });

  test.each([
    ["the kernel", 5],
    ["the datastore", 11],
    ["another IPAM", 100],
    ["a fault of ours", 999],
  ])("in vain (%s, %i): it is kept, and tried again more and more seldom", async (_whose, code) => {
    const spool = spoolOf(0, Array(10).fill(refusal(code)));
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    await settled();
    const tries: number[] = [];
    for (; served.length < 10; clock += 500) {
      const before = served.length;
      await spool.drain();
      if (served.length > before) tries.push(clock / 1000);
    }
    expect([kept().length, bad]).toEqual([1, []]);
    expect(tries).toEqual([1, 3, 7, 15, 31, 63, 123, 183, 243]);
    clock += 60_000;
    expect([await spool.drain(), kept()]).toEqual([0, []]);
  });

  test("what cannot be kept is answered when it is done", async () => {
    const spool = spoolOf(60, [refusal(11)]);
    rmSync(directory, { recursive: true });
    writeFileSync(directory, ""); // no directory can be made there
    expect(await spool.handle(call("DEL"))).toEqual(refusal(11));
    rmSync(directory);
    mkdirSync(directory);
  });
});
