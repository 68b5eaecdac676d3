#!/usr/bin/env node
// Committed, so that npm links `margay` before set-up has built the bundle.
import { existsSync } from "node:fs";

const bundle = new URL("../dist/margay.mjs", import.meta.url);
if (existsSync(bundle)) await import(bundle);
else {
  process.stderr.write("margay: not built yet; npm run setup\n");
  process.exitCode = 1;
}
