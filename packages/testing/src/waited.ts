import { readFileSync } from "node:fs";

/** Milliseconds, since the machine began, in which somebody on it waited for a processor; 0 where the kernel does not tell. */
export function waitedMs(): number {
  try {
    return Number(/some .*total=(\d+)/.exec(readFileSync("/proc/pressure/cpu", "utf8"))?.[1]) / 1000;
  } catch {
    return 0;
  }
}
