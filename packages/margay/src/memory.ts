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

/** A router or reflector of its own has tables of a size that this would make slow: 46 % of its time went into collections. */
const isRouter =
  process.argv.some((word) => /^--config-?[fF]ile\b/.test(word)) || "MARGAY_CONFIG_FILE" in process.env;

const name = process.argv[2] ?? "";
const flags = name === "controllers" ? [...FLAGS, ...CONTROLLERS] : FLAGS;
if (DAEMONS.includes(name) && !isRouter) for (const flag of flags) setFlagsFromString(flag);
