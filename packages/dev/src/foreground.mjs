// Runs Node.js 24 in the place of this process, as far as that can be: signals, exit code, and a common end.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { ROOT } from "./outputs.mjs";
import { SetupError } from "./progress.mjs";

const PROGRAM = join(ROOT, "node_modules/.bin/node");

/** As set-up begins: npm may be killed while it works. */
const born = ancestors();

/** Node.js 24 with a script that is there. */
export async function node(args) {
  const script = args.find((arg) => !arg.startsWith("-"));
  if (!existsSync(script)) throw new SetupError(`nothing to run: no ${script}`);
  return foreground([PROGRAM, ...args]);
}

/** Signals reach it, its exit code is the answer, and it ends when we or the npm that called us are killed, even with -9. */
export async function foreground(command) {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.removeAllListeners(signal);
    // a terminal's Ctrl-C reaches the child by itself; any other signal is handed on
    process.on(signal, () => (signal === "SIGINT" && process.stdin.isTTY) || child.kill(signal));
  }
  const watch = setInterval(() => ancestors() !== born && child.kill("SIGTERM"), 1000);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  }).finally(() => clearInterval(watch));
}

/** Our parent and, under npm, its parent: npm runs us through a shell that would outlive it. */
function ancestors() {
  if (!process.env.npm_lifecycle_event) return "";
  try {
    const [, grandparent] = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${process.ppid}/status`, "utf8"));
    return `${process.ppid} ${grandparent}`;
  } catch {
    return "gone"; // the parent ended between the two readings
  }
}
