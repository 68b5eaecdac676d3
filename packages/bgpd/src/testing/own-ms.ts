import { readFileSync } from "node:fs";

/** A clock in milliseconds that stands still while this thread is kept waiting for a CPU: how long we took, whatever else runs there. The wall's where the kernel does not tell. */
export const ownMs = (): number => performance.now() - waitedMs();

function waitedMs(): number {
  try {
    const [, waitedNs] = readFileSync("/proc/thread-self/schedstat", "utf8").split(" ");
    return Number(waitedNs) / 1e6;
  } catch {
    return 0; // without CONFIG_SCHED_INFO
  }
}
