import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { type ApiServer, apiServer } from "./api-server.ts";
import { Leader } from "./leader.ts";
import { type MemoryApiServer, memoryApiServer } from "./testing/memory-api-server.ts";

const LEASES = "/apis/coordination.k8s.io/v1/namespaces/margay-system/leases";
/** Times run so much faster than they say. */
const FASTER = 50;

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

function candidate(identity: string): Candidate {
  const server = apiServer(kubernetes.access);
  const changes: boolean[] = [];
  let isDead = false;
  const leader = new Leader({
    ...{ server, identity, namespace: "margay-system", name: "margay-controllers" },
    onChange: (leads) => void changes.push(leads),
    onError: () => {},
    sleep: (ms, signal) => sleep(isDead ? 2 ** 30 : ms / FASTER, undefined, { signal }).catch(() => {}),
    now: () => performance.now() * FASTER,
    wallClock: () => new Date("2026-01-01T00:00:00.000Z"),
  });
  candidates.push({ leader, server });
  leader.start();
  return {
    leader,
    changes,
    kill: () => {
      isDead = true;
    },
  };
}

async function until(look: () => boolean, ms = 3000): Promise<number> {
  const begun = performance.now();
  for (; !look(); await sleep(2))
    if (performance.now() - begun > ms) throw new Error(`not within ${ms} ms: ${look}`);
  return ((performance.now() - begun) * FASTER) / 1000;
}

test("one of two leads; when it dies the other takes over within 15 s", async () => {
  const first = candidate("a");
  await until(() => first.leader.leads);
  const second = candidate("b");
  await sleep(300); // 15 s of theirs
  expect(second.changes).toEqual([]);
  first.kill();
  const seconds = await until(() => second.leader.leads);
  expect(seconds).toBeLessThan(15);
  expect(kubernetes.objects(LEASES)[0]).toMatchObject({
    spec: { holderIdentity: "b", leaseTransitions: 1, renewTime: "2026-01-01T00:00:00.000000Z" },
  });
});

test("who stops gives the Lease back, and the other takes over with its next try", async () => {
  const [first] = [candidate("a")];
  await until(() => first.leader.leads);
  const second = candidate("b");
  await sleep(20);
  await first.leader.stop();
  expect(first.changes).toEqual([true, false]);
  expect(await until(() => second.leader.leads)).toBeLessThan(5);
});

test("who cannot reach the API server lets go before another may take over, and leads again when it answers", async () => {
  const first = candidate("a");
  await until(() => first.leader.leads);
  const failing = setInterval(() => kubernetes.fail({ on: "leases", status: 503 }), 1);
  const seconds = await until(() => !first.leader.leads);
  expect(seconds).toBeLessThan(10);
  clearInterval(failing);
  await until(() => first.leader.leads);
});
