import { readFileSync } from "node:fs";

/** A clock in milliseconds that stands still while this thread is kept waiting for a CPU: how long we took, whatever else runs there. */
export function ownMs(): number {
  const [, waitedNs] = readFileSync("/proc/thread-self/schedstat", "utf8").split(" ");
  return performance.now() - Number(waitedNs) / 1e6;
}
