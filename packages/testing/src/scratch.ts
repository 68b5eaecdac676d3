import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Starts what tests and benchmarks leave lying about when they are killed: `margay-<subject>-<pid namespace>-<pid>-<start time>-XXXXXX`. */
const OWNED = /^margay-[a-z-]+-(\d+)-(\d+)-(\d+)-\w+$/;
/** In a lab's own, another process or none bears the number. */
const NAMESPACE = readlinkSync("/proc/self/ns/pid").replace(/\D/g, "");

/**
 * A directory of this process's own in `parent`; its name says whose it is. First those go whose process is gone: a killed
 * run cannot tidy up, and the next one does it.
 */
export function scratch(parent: string, subject: string): string {
  for (const place of new Set([parent, "/dev/shm"])) if (existsSync(place)) sweep(place);
  return mkdtempSync(
    join(parent, `margay-${subject}-${NAMESPACE}-${process.pid}-${startTime(process.pid)}-`),
  );
}

/** Of another user's, or of another sweeper that is quicker, nothing is left to do. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const [, namespace, pid, started] = OWNED.exec(name) ?? [];
    if (namespace !== NAMESPACE || startTime(Number(pid)) === started) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch (error) {
      if (!["EACCES", "EPERM", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? ""))
        throw error;
    }
  }
}

/** When the process began, in the kernel's ticks, as text; undefined when there is none. A reused pid has another. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]; // field 22, proc(5)
  } catch {
    return undefined;
  }
}
