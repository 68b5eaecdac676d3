// calc at the size of a large cluster, alone and as an agent reads it from etcd; needs no lab. One JSON line for each result: calc-scale.ts <full|quick>
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { loadavg } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type AnyResource, encode } from "@margay/api";
import { type Change, etcdStore, MAX_CHANGES } from "@margay/datastore";
import { startEtcd } from "../ipam/etcd.ts";
import type { Result } from "./result.ts";

/** What the agent's own way from etcd to the state says. */
interface Synced {
  readonly keys: number;
  readonly fullSyncCpuMs: number;
  readonly changeCpuMs: number;
  readonly heapMB: number;
  readonly peakRssMB: number;
}

const CLUSTER = fileURLToPath(new URL("../../packages/calc/src/testing/print-cluster.ts", import.meta.url));
const SYNC = fileURLToPath(new URL("../../packages/agent/src/testing/sync-bench.ts", import.meta.url));

/** CPU time, which other programs blur less than wall time; each figure is the mean of its runs. */
interface Figures {
  readonly fullSyncMs: number;
  readonly remoteEndpointMs: number;
  readonly localEndpointMs: number;
  readonly firstOfItsKindMs: number;
  readonly itsMembers: number;
  readonly policyMs: number;
  readonly heapMB: number;
}

const BENCH = fileURLToPath(new URL("../../packages/calc/src/testing/bench.ts", import.meta.url));
const [endpoints, policies, local] =
  process.argv[2] === "quick" ? [25_000, 1000, 100] : [250_000, 10_000, 100];
const words = ["--expose-gc", "--conditions=margay-source", "--no-warnings", BENCH];
const sizes = [endpoints, policies, local].map(String);
const found = JSON.parse(
  execFileSync(process.execPath, [...words, ...sizes], { encoding: "utf8" }),
) as Figures;
const load = Math.round((loadavg()[0] ?? 0) * 10) / 10;

const result = (
  subject: string,
  value: number,
  rest: Pick<Result, "unit" | "n"> & { atMost?: number },
): Result => {
  const { unit, n, atMost } = rest;
  const target = atMost === undefined ? {} : { target: { of: "p50" as const, atMost } };
  return { benchmark: "calc-scale", subject, n, unit, p50: value, p99: value, max: value, load, ...target };
};

const ms = (subject: string, value: number, n: number, atMost?: number): Result =>
  result(subject, value, { unit: "ms", n, ...(atMost !== undefined && { atMost }) });

for (const line of [
  ms("first full sync (CPU)", found.fullSyncMs, 1, 10_000),
  ms("a remote endpoint (mean CPU)", found.remoteEndpointMs, 200, 10),
  ms("an endpoint here (mean CPU)", found.localEndpointMs, 50, 10),
  ms(`... that needs a new set of ${found.itsMembers} members (mean CPU)`, found.firstOfItsKindMs, 10),
  ms("a policy (mean CPU)", found.policyMs, 50, 20),
  result("heap after the first full sync", found.heapMB, { unit: "MB", n: 1, atMost: 600 }),
])
  tell(line);

/** A quarter and the half as well: the slope says what more would cost. */
const SIZES = process.argv[2] === "quick" ? [endpoints] : [endpoints / 4, endpoints / 2, endpoints];
for (const size of SIZES) await throughEtcd(size);

/** The same clusters as an agent reads them: from etcd, decoded and checked, with what its Syncer remembers. */
async function throughEtcd(size: number): Promise<void> {
  process.stderr.write(`  ${size} endpoints through etcd\n`);
  const etcd = await startEtcd();
  try {
    const written = await fill(etcd.endpoint, size);
    const found = JSON.parse(
      execFileSync(process.execPath, [...words.slice(0, 3), SYNC, etcd.endpoint, "50"], {
        encoding: "utf8",
      }),
    ) as Synced;
    if (found.keys !== written) throw new Error(`${found.keys} of ${written} keys were read`);
    const of = (what: string) => `${what}, ${size} endpoints through etcd`;
    tell(ms(of("first full sync (CPU)"), found.fullSyncCpuMs, 1, size === endpoints ? 10_000 : undefined));
    tell(ms(of("a remote endpoint (mean CPU)"), found.changeCpuMs, 50, 10));
    const atMost = size === endpoints ? { atMost: 600 } : {};
    tell(result(of("heap"), found.heapMB, { unit: "MB", n: 1, ...atMost }));
    tell(result(of("peak RSS"), found.peakRssMB, { unit: "MB", n: 1, ...atMost }));
  } finally {
    await etcd.remove();
  }
}

/** @returns how many keys there are now */
async function fill(endpoint: string, size: number): Promise<number> {
  const store = etcdStore({ endpoints: [endpoint] });
  const sizes = [size, (policies * size) / endpoints, local].map(String);
  const child = spawn(process.execPath, [...words.slice(1, 3), CLUSTER, ...sizes], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "close");
  let written = 0;
  let changes: Change[] = [];
  const commit = async () => {
    if (changes.length > 0) await store.commit(changes);
    written += changes.length;
    changes = [];
  };
  for await (const line of createInterface({ input: child.stdout })) {
    const { key, value } = JSON.parse(line) as { key: string; value: AnyResource }; // as print-cluster.ts makes them
    changes.push({ type: "create", key, value: encode(value) });
    if (changes.length === MAX_CHANGES) await commit();
  }
  await commit();
  await store.close();
  const [code, signal] = await ended;
  if (code !== 0) throw new Error(`print-cluster.ts ended with ${code ?? signal}`);
  return written;
}

function tell(line: Result): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
process.exit(0); // nothing is left to do
