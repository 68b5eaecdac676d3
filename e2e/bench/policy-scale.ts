// What a new connection costs as policies become many; needs no lab. One JSON line for each result: policy-scale.ts <full|quick>
import { execFileSync, spawnSync } from "node:child_process";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { type Result, summary } from "./result.ts";

/** The agent's renderer and its kernel targets, alone in a network namespace with two pods. */
const SCALE = fileURLToPath(new URL("../../packages/agent/src/rulesets/testing/scale.ts", import.meta.url));
const BACKENDS = ["nftables", "iptables-nft", "iptables-legacy"] as const;
/** A new connection may cost so much more than with ten policies. */
const RATIO = 1.1;
/** Equal runs differ by a sixth: each size takes its turn, and the middle one of its runs counts. */
const ROUNDS = 3;

interface Scaled {
  readonly micros: readonly number[];
  readonly systemMicros: number;
  readonly perSecond: number;
  readonly mbits: number;
  readonly loadMs: number;
  readonly changeCpuMs: number;
  readonly changeMs: number;
}

if (spawnSync("iperf3", ["--version"]).error) throw new Error("no iperf3 here; apt-get install iperf3");

const quick = process.argv[2] === "quick";
const counts = quick ? [0, 10, 1000] : [0, 10, 100, 1000, 10_000];

for (const backend of BACKENDS) {
  const rounds = Array.from({ length: quick ? 1 : ROUNDS }, (_, round) => {
    process.stderr.write(`  ${backend}, round ${round + 1}\n`);
    return counts.map((policies) => measure(backend, policies));
  });
  let first: number | undefined;
  for (const [at, policies] of counts.entries()) {
    const subject = `${backend}, ${policies} policies`;
    const scaled = middle(rounds.flatMap((round) => round[at] ?? []));
    const connect = summary(scaled.micros);
    if (policies > 0) first ??= connect.p50;
    const target =
      first === undefined
        ? {}
        : { target: { of: "p50" as const, atMost: Math.round(first * RATIO * 100) / 100 } };
    const perConnection = summary([scaled.systemMicros]);
    tell({ benchmark: "policy-scale: connect", subject, unit: "µs", ...connect, ...target });
    tell({ benchmark: "policy-scale: kernel CPU", subject, unit: "µs", ...perConnection });
    tell({ benchmark: "policy-scale: connections", subject, unit: "1/s", ...summary([scaled.perSecond]) });
    tell({ benchmark: "policy-scale: throughput", subject, unit: "Mbit/s", ...summary([scaled.mbits]) });
    tell({ benchmark: "policy-scale: one policy more", subject, unit: "ms", ...summary([scaled.changeMs]) });
    tell({ benchmark: "policy-scale: all from nothing", subject, unit: "ms", ...summary([scaled.loadMs]) });
    if (first !== undefined)
      process.stderr.write(
        `    ${policies}: connect p50 ${(connect.p50 / first).toFixed(2)} of that with 10 policies\n`,
      );
  }
}

/** The one whose connections took neither the longest nor the shortest. */
function middle(all: readonly Scaled[]): Scaled {
  const sorted = all.toSorted((a, b) => summary(a.micros).p50 - summary(b.micros).p50);
  const found = sorted[Math.floor(sorted.length / 2)];
  if (!found) throw new Error("nothing was measured");
  return found;
}

function tell(result: Result): void {
  const load = Math.round((loadavg()[0] ?? 0) * 10) / 10;
  process.stdout.write(`${JSON.stringify({ ...result, load })}\n`);
}

/** As root the namespace keeps the kernel's full socket buffers; others are root in a namespace of their own. */
function measure(backend: string, policies: number): Scaled {
  const namespaces = process.getuid?.() === 0 ? "-nm" : "-Urnm";
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", SCALE];
  const flags = ["--backend", backend, "--policies", `${policies}`, "--connections", quick ? "500" : "3000"];
  const out = execFileSync("unshare", [namespaces, "--kill-child", ...node, ...flags], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  return JSON.parse(out) as Scaled;
}
