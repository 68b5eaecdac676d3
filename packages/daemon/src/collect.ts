import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * A full collection of garbage: V8 has no reason for one while nothing is allocated, and so keeps what a burst has left. This
 * thread waits for it, some tens of milliseconds: for times of rest (`whenQuiet`).
 */
export function collectGarbage(): void {
  collector()();
}

/** V8's own collector; of type "minor" it is of new objects alone. */
export function collector(): (options?: { readonly type: "minor" }) => void {
  setFlagsFromString("--expose-gc"); // gives `gc` to contexts made from now on
  return runInNewContext("gc") as ReturnType<typeof collector>;
}
