/**
 * How V8 uses memory in the daemons, which run for months with little to do (docs/adr/0003-footprint.md). Imported before
 * anything else: what start-up has taken is not given back.
 */
import { setFlagsFromString } from "node:v8";

const DAEMONS = ["agent", "bgpd"];

/** Flags of V8 that may be set while it runs, and why. */
const FLAGS = [
  "--semi-space-growth-factor=1", // the space for new objects stays as it starts; a burst would make it 64 MB, for ever
  "--heap-growing-percent=20", // a full collection when the heap has grown by so much since the last one
];

if (DAEMONS.includes(process.argv[2] ?? "")) for (const flag of FLAGS) setFlagsFromString(flag);
