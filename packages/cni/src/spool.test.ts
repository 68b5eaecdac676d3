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
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "margay-spool-"));
    [served, bad] = [[], []];
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** Serves each call after `ms`, DEL with the answer given. */
  const spoolOf = (ms: number, answers: Reply[]) =>
    new Spool({
      directory,
      answersFirst: true,
      onBadCall: (error) => bad.push(error),
      handle: async ({ command, netns }) => {
        await sleep(ms);
        served.push(`${command} ${netns ?? "-"}`);
        return command === "DEL" ? (answers.shift() ?? DONE) : DONE;
      },
    });
  const kept = () => readdirSync(directory);

  test("success, and it is kept until it is done", async () => {
    const spool = spoolOf(100, []);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    expect([kept(), served]).toEqual([["c1.eth0.margay-cni"], []]);
    expect(await spool.drain()).toBe(1); // under way already: not begun a second time
    await sleep(150);
    expect([kept(), served]).toEqual([[], ["DEL /run/netns/c1"]]);
  });

  test("in vain for now: it stays kept, is tried again, and an ADD of the container comes after it", async () => {
    const spool = spoolOf(60, [refusal(11)]);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    await sleep(120);
    expect(kept()).toEqual(["c1.eth0.margay-cni"]);
    expect(await spool.handle(call("ADD"))).toEqual(DONE);
    expect(served).toEqual(["DEL /run/netns/c1", "DEL -", "ADD /run/netns/c1"]);
    expect(kept()).toEqual([]);
  });

  test("an ADD that finds no address tries again when it is done", async () => {
    let isFree = false;
    const spool = new Spool({
      directory,
      answersFirst: true,
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

  test("in vain for ever: it is told and thrown away", async () => {
    const spool = spoolOf(60, [refusal(7)]);
    expect(await spool.handle(call("DEL"))).toEqual(DONE);
    await sleep(120);
    expect([kept(), bad.length]).toEqual([[], 1]);
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
