// What a new connection costs as policies become many; needs no lab. One JSON line for each result: policy-scale.ts <full|quick>
import { execFileSync } from "node:child_process";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { type Result, summary } from "./result.ts";

/** The agent's renderer and its kernel targets, alone in a network namespace with two pods. */
const SCALE = fileURLToPath(new URL("../../packages/agent/src/rulesets/testing/scale.ts", import.meta.url));
const BACKENDS = ["nftables", "iptables-nft", "iptables-legacy"] as const;
/** A new connection may cost so much more than with ten policies. */
const RATIO = 1.1;

interface Scaled {
  readonly micros: readonly number[];
  readonly systemMicros: number;
  readonly perSecond: number;
  readonly loadMs: number;
  readonly changeCpuMs: number;
  readonly changeMs: number;
}

const quick = process.argv[2] === "quick";
const counts = quick ? [10, 1000] : [10, 100, 1000, 10_000];

for (const backend of BACKENDS) {
  let first: number | undefined;
  for (const policies of counts) {
    const subject = `${backend}, ${policies} policies`;
    process.stderr.write(`  ${subject}\n`);
    const scaled = measure(backend, policies);
    const connect = summary(scaled.micros);
    first ??= connect.p50;
    const target = { of: "p50", atMost: Math.round(first * RATIO * 100) / 100 } as const;
    const perConnection = summary([scaled.systemMicros]);
    tell({ benchmark: "policy-scale: connect", subject, unit: "µs", ...connect, target });
    tell({ benchmark: "policy-scale: kernel CPU", subject, unit: "µs", ...perConnection });
    tell({ benchmark: "policy-scale: connections", subject, unit: "1/s", ...summary([scaled.perSecond]) });
    tell({ benchmark: "policy-scale: one policy more", subject, unit: "ms", ...summary([scaled.changeMs]) });
    tell({ benchmark: "policy-scale: all from nothing", subject, unit: "ms", ...summary([scaled.loadMs]) });
    process.stderr.write(`    connect p50 ${(connect.p50 / first).toFixed(2)} of that with 10 policies\n`);
  }
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
