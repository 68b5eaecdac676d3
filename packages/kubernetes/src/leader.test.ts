import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { type ApiServer, apiServer } from "./api-server.ts";
import { Leader } from "./leader.ts";
import { type MemoryApiServer, memoryApiServer } from "./testing/memory-api-server.ts";

const LEASES = "/apis/coordination.k8s.io/v1/namespaces/margay-system/leases";
/** A clock that moves only when everybody sleeps: how busy the machine is changes nothing. */
class Clock {
  ms = 0;
  readonly sleepers = new Set<{ at: number; wake: () => void }>();
  awake = 0;

  readonly sleep = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const sleeper = {
        at: this.ms + ms,
        wake: () => {
          if (this.sleepers.delete(sleeper)) this.awake++;
          resolve();
        },
      };
      this.sleepers.add(sleeper);
      this.awake--;
      signal.addEventListener("abort", sleeper.wake);
      if (signal.aborted) sleeper.wake();
    });

  async pass(ms: number): Promise<void> {
    for (const end = this.ms + ms; ; ) {
      while (this.awake > 0) await pause(1);
      const due = [...this.sleepers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) {
        this.ms = end;
        return;
      }
      this.ms = due.at;
      due.wake();
    }
  }

  /** Seconds until `look` is true. */
  async until(look: () => boolean): Promise<number> {
    const begun = this.ms;
    for (; !look(); await this.pass(100))
      if (this.ms - begun > 60_000) throw new Error(`not within a minute: ${look}`);
    return (this.ms - begun) / 1000;
  }
}

let kubernetes: MemoryApiServer;
const candidates: { leader: Leader; server: ApiServer }[] = [];

beforeEach(async () => {
  kubernetes = await memoryApiServer();
});
afterEach(async () => {
  for (const { leader, server } of candidates.splice(0)) {
    await leader.stop();
    server.close();
  }
  await kubernetes.close();
});

interface Candidate {
  readonly leader: Leader;
  readonly changes: boolean[];
  /** As kill -9: renews no more, gives nothing back. */
  kill(): void;
}

function candidate(clock: Clock, identity: string, ended?: () => Promise<void>): Candidate {
  const server = apiServer(kubernetes.access);
  const changes: boolean[] = [];
  let isDead = false;
  const leader = new Leader({
    ...{ server, identity, namespace: "margay-system", name: "margay-controllers" },
    onChange: async (leads) => {
      if (!leads) await ended?.();
      changes.push(leads);
    },
    onError: () => {},
    sleep: (ms, signal) => clock.sleep(isDead ? 2 ** 40 : ms, signal),
    now: () => clock.ms,
    wallClock: () => new Date("2026-01-01T00:00:00.000Z"),
  });
  candidates.push({ leader, server });
  clock.awake++;
  leader.start();
  return {
    ...{ leader, changes },
    kill: () => {
      isDead = true;
    },
  };
}

test("one of two leads; when it dies the other takes over within 15 s", async () => {
  const clock = new Clock();
  const first = candidate(clock, "a");
  await clock.until(() => first.leader.leads);
  const second = candidate(clock, "b");
  await clock.pass(30_000);
  expect(second.changes).toEqual([]);
  first.kill();
  expect(await clock.until(() => second.leader.leads)).toBeLessThan(15);
  expect(kubernetes.objects(LEASES)[0]).toMatchObject({
    spec: { holderIdentity: "b", leaseTransitions: 1, renewTime: "2026-01-01T00:00:00.000000Z" },
  });
});

test("who stops gives the Lease back, and the other takes over with its next try", async () => {
  const clock = new Clock();
  const first = candidate(clock, "a");
  await clock.until(() => first.leader.leads);
  const second = candidate(clock, "b");
  await clock.pass(1000);
  await first.leader.stop();
  clock.awake = 0; // the first is no more
  expect(first.changes).toEqual([true, false]);
  expect(await clock.until(() => second.leader.leads)).toBeLessThan(5);
});

test("the Lease is given back only when whoever led has ended what was under way", async () => {
  const clock = new Clock();
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = candidate(clock, "a", () => promise);
  await clock.until(() => first.leader.leads);
  const holder = () => kubernetes.objects(LEASES)[0]?.spec as { holderIdentity: string };
  const stopped = first.leader.stop();
  await pause(100);
  expect(holder()).toMatchObject({ holderIdentity: "a" });
  resolve();
  await stopped;
  expect(holder()).toMatchObject({ holderIdentity: "" });
  expect(first.changes).toEqual([true, false]);
});

test("who cannot reach the API server lets go before another may take over, and leads again when it answers", async () => {
  const clock = new Clock();
  const first = candidate(clock, "a");
  await clock.until(() => first.leader.leads);
  for (let tries = 0; tries < 10; tries++) kubernetes.fail({ on: "leases", status: 503 });
  expect(await clock.until(() => !first.leader.leads)).toBeLessThan(10);
  await clock.until(() => first.leader.leads);
  expect(first.changes).toEqual([true, false, true]);
});
