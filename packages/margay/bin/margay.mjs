#!/usr/bin/env node
// Committed, so that npm links `margay` before set-up has built the bundle.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const bundle = fileURLToPath(new URL("../dist/margay.mjs", import.meta.url));
if (existsSync(bundle)) {
  process.argv[1] = bundle; // the relay and the addon lie beside it, and daemons are started from it
  await import(bundle);
} else {
  process.stderr.write("margay: not built yet; npm run setup\n");
  process.exitCode = 1;
}
