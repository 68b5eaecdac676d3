/**
 * How V8 uses memory in the daemons, which run for months with little to do (docs/adr/0003-footprint.md). Imported before
 * anything else: what start-up has taken is not given back.
 */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";

/** The space for new objects stays as it starts; a burst would make it 64 MB, for ever. */
const STEADY = ["--semi-space-growth-factor=1"];

/** They read a cluster at their start, and keep a tenth of it. */
const CONTROLLERS = ["--heap-growing-percent=20"];

/** For bgpd and the agent. Other threads would do a part of it; where processors are few, all wait for these threads: up to 208 ms on a busy machine. */
const SERIAL = ["--no-parallel-scavenge"];

/** One function at a time is made faster: two such threads on two processors kept bgpd, or who listens to it, from a change (ADR 16). */
const ONE_COMPILER = ["--concurrent-turbofan-max-threads=1", "--concurrent-maglev-max-threads=1"];

/** A router or reflector of its own gets more of that space when it has started (`settleNewSpace`), and has room for its first table: tables come in bursts. */
const ROOMY = [...STEADY, "--heap-growing-percent=300"];

const isRouter =
  process.argv.some((word) => /^--config-?[fF]ile\b/.test(word)) ||
  "MARGAY_CONFIG_FILE" in process.env ||
  isRouterFile(configGiven() ?? process.env.MARGAY_CONFIG);

/** The word with or behind `--config`. */
function configGiven(): string | undefined {
  const at = process.argv.findIndex((word) => /^--config(=|$)/.test(word));
  return process.argv[at]?.split("=")[1] ?? (at < 0 ? undefined : process.argv[at + 1]);
}

/** `--config` takes a router's file as well as one of flags; what cannot be read is told by who needs it. */
function isRouterFile(path: string | undefined): boolean {
  try {
    return path !== undefined && /^local:/m.test(readFileSync(path, "utf8"));
  } catch {
    return false;
  }
}

/** Pods come now and then: what makes one is not forgotten in between, to be compiled anew while a pod waits. */
const KEPT = ["--no-flush-bytecode"];

/** The agent's space grows with the pods that come, so that most of what each needs is gone when it is full; at rest the agent gives it back (`collectGarbage`). */
const OF: ReadonlyMap<string, readonly string[]> = new Map([
  ["agent", [...SERIAL, ...KEPT]],
  ["bgpd", [...(isRouter ? ROOMY : STEADY), ...SERIAL, ...ONE_COMPILER]],
  ["controllers", [...STEADY, ...CONTROLLERS]],
]);

for (const flag of OF.get(process.argv[2] ?? "") ?? []) setFlagsFromString(flag);
