import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Streamed } from "./stream.ts";

/** What a run of transactions.ts tells. */
export interface Probed extends Streamed {
  /** From one ruleset to the next. */
  readonly moves: number;
  /** Rulesets that hold something of ours at the end. */
  readonly left: readonly string[];
  /** What was put back, since somebody else had changed it. */
  readonly repaired: readonly string[];
}

/** Runs transactions.ts, `--backend nftables --updates 100` say. */
export const probed = (options: string): Probed => unshared("transactions.ts", options) as Probed;

/** In namespaces of its own, which need no root. */
function unshared(name: string, options: string): unknown {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", script];
  const out = execFileSync("unshare", ["-Urnm", "--kill-child", ...node, ...options.split(" ")], {
    encoding: "utf8",
    timeout: 880_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  return JSON.parse(out);
}

/** What has no right answer, out of many: nothing. */
export const wrong = ({ allowed, denied, established }: Probed) => ({
  allowedButLost: allowed.sent - allowed.answered,
  deniedButAnswered: denied.answered,
  bytesLost: established.sent - established.answered,
});

export const NOTHING_WRONG = { allowedButLost: 0, deniedButAnswered: 0, bytesLost: 0 };
