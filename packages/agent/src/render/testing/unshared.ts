import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Runs a script beside this one with a backend's name, in namespaces of its own, which need no root; what it prints, read. */
export function unsharedScript(name: string, backend: string): unknown {
  const file = fileURLToPath(new URL(name, import.meta.url));
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", file, backend];
  const options = { encoding: "utf8", timeout: 880_000 } as const;
  return JSON.parse(execFileSync("unshare", ["-Urnm", "--kill-child", ...node], options));
}
