import { readdirSync, readFileSync } from "node:fs";
import { constants, setPriority } from "node:os";

/** How Node.js names the threads that V8 compiles and collects in (prctl, since Node.js 22). */
const COMPILERS = "V8Worker";

/**
 * Threads of V8 compile, for milliseconds, just what this process is busy with. Where processors are few they take the one that the
 * work itself waits for: from now on they take only time that no other thread of its scheduling group wants. Nobody waits for code:
 * until then it runs as it is. Full collections they help in, and these may wait for one of them; those of new objects do not (`packages/margay/src/memory.ts`).
 * (sched(7): on Linux each thread has a nice value.)
 * @returns how many there are
 */
export function compileInIdleTime(): number {
  const named = readdirSync("/proc/self/task").filter((id) => isCompiler(id));
  try {
    for (const id of named) setPriority(Number(id), constants.priority.PRIORITY_LOW);
  } catch {
    return 0; // a sandbox that forbids it costs time, and nothing else
  }
  return named.length;
}

/** A thread may end while its name is read. */
function isCompiler(id: string): boolean {
  try {
    return readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith(COMPILERS);
  } catch {
    return false;
  }
}
