// Compiles the addon when its source is newer than the result. Plain node, no dependency, so that set-up can
// call it first; `gcc` (or $CC) and the headers of the npm package node-api-headers are all it needs.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "margay-netlink.c");

/** Where the addon of this machine's architecture lies. */
export const output = join(here, "build", `margay-netlink-${process.arch}.node`);

/** Builds if need be; true when it compiled. Throws with the compiler's words. */
export function build() {
  if (existsSync(output) && statSync(output).mtimeMs >= statSync(source).mtimeMs) return false;
  const headers = join(
    dirname(createRequire(import.meta.url).resolve("node-api-headers/package.json")),
    "include",
  );
  mkdirSync(dirname(output), { recursive: true });
  const partial = `${output}.${process.pid}`;
  const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-nostdlib", "-fPIC", `-I${headers}`];
  execFileSync(process.env.CC ?? "gcc", [...flags, "-DNAPI_VERSION=8", "-o", partial, source], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  renameSync(partial, output); // atomic: a running test never loads half a file
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  console.log(build() ? `built ${output}` : `${output} is up to date`);
