import { setTimeout as sleep } from "node:timers/promises";

/** Until `look` finds something, at most a minute: for what takes milliseconds, on a machine that is busy. Throws with the question. */
export async function until<T>(
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  for (const end = performance.now() + 60_000; ; await sleep(20)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`not within a minute: ${look}`);
  }
}
