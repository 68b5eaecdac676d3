/**
 * How V8 uses memory in the daemons, which run for months with little to do (docs/adr/0003-footprint.md). Imported before
 * anything else: what start-up has taken is not given back.
 */
import { setFlagsFromString } from "node:v8";

const DAEMONS = ["agent", "bgpd", "controllers"];

/** Flags of V8 that may be set while it runs, and why. */
const FLAGS = [
  "--semi-space-growth-factor=1", // the space for new objects stays as it starts; a burst would make it 64 MB, for ever
];

/** They read a cluster at their start, and keep a tenth of it. */
const CONTROLLERS = ["--heap-growing-percent=20"];

/** For bgpd and the agent. Other threads would do a part of it; where processors are few, all wait for these threads: up to 208 ms on a busy machine. */
const SERIAL = ["--no-parallel-scavenge"];

/** A router or reflector of its own keeps more of that space (`startStandalone`): its tables come in bursts. */
const isRouter =
  process.argv.some((word) => /^--config-?[fF]ile\b/.test(word)) || "MARGAY_CONFIG_FILE" in process.env;

const name = process.argv[2] ?? "";
const flags = name === "controllers" ? [...FLAGS, ...CONTROLLERS] : FLAGS;
if (DAEMONS.includes(name) && !isRouter) for (const flag of flags) setFlagsFromString(flag);
if (name === "bgpd" || name === "agent") for (const flag of SERIAL) setFlagsFromString(flag);
