// calc at the size of a large cluster; needs no lab. One JSON line for each result: calc-scale.ts <full|quick>
import { execFileSync } from "node:child_process";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import type { Result } from "./result.ts";

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
  process.stdout.write(`${JSON.stringify(line)}\n`);
