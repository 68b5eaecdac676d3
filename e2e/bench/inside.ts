import { footprint } from "./footprint.ts";
import { atOnce, sequential } from "./pod-add.ts";
import { policyToEnforced } from "./policy.ts";
import type { Result } from "./result.ts";
import { addToRemoteRoute } from "./route.ts";

/** What a benchmark inside the lab is given. */
export interface Inside {
  readonly relay: string;
  readonly etcd: string;
  /** Fewer samples. */
  readonly quick: boolean;
  /** Progress, for people. */
  readonly say: (text: string) => void;
}

const BENCHMARKS: Readonly<Record<string, (inside: Inside) => Promise<Result[]>>> = {
  "pod-add-sequential": sequential,
  "pod-add-100-at-once": atOnce,
  "policy-to-enforced": policyToEnforced,
  "add-to-remote-route": addToRemoteRoute,
  "footprint-100-pods": footprint,
};

/** Runs in the lab's namespaces: `inside.ts <benchmark> <relay> <full|quick>`; one JSON line for each result. */
const [name = "", relay = "", amount = "full"] = process.argv.slice(2);
const run = BENCHMARKS[name];
if (run === undefined)
  throw new Error(`no benchmark ${name}; there are ${Object.keys(BENCHMARKS).join(", ")}`);
const results = await run({
  relay,
  etcd: process.env.MARGAY_ETCD_ENDPOINTS ?? "",
  quick: amount === "quick",
  say: (text) => process.stderr.write(`  ${text}\n`),
});
for (const result of results) process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0); // addon sockets and plugins' pipes may linger
