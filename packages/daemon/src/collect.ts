import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * A full collection of garbage: V8 has no reason for one while nothing is allocated, and so keeps what a burst has left. This
 * thread waits for it, some tens of milliseconds: for times of rest (`whenQuiet`).
 */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc"); // gives `gc` to contexts made from now on
  (runInNewContext("gc") as () => void)();
}
