import { readdirSync, readFileSync } from "node:fs";
import { constants, setPriority } from "node:os";

/** How Node.js names the threads that V8 compiles and collects in (prctl, since Node.js 22). */
const COMPILERS = "V8Worker";

/**
 * Threads of V8 compile, for milliseconds, just what this process is busy with. Where processors are few they take the one that the
 * work itself waits for: from now on they take only time that no other thread of this process wants. Nothing waits for what they make:
 * until then the code runs as it is. (sched(7): on Linux each thread has a nice value.)
 * @returns how many there are
 */
export function compileInIdleTime(): number {
  const named = readdirSync("/proc/self/task").filter((id) => isCompiler(id));
  for (const id of named) setPriority(Number(id), constants.priority.PRIORITY_LOW);
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
