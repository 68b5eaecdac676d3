import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The memory controller of cgroup v1, where it is mounted. */
const ROOT = "/sys/fs/cgroup/memory";

/** Why no limit of memory can be enforced here; undefined when one can. */
export function noMemoryGroups(): string | undefined {
  if (!existsSync(join(ROOT, "memory.limit_in_bytes"))) return `no memory controller of cgroup v1 at ${ROOT}`;
  return process.getuid?.() === 0 ? undefined : "not root";
}

/** A memory cgroup of this test's own. */
export class MemoryGroup {
  readonly path: string;

  constructor(name: string, limitBytes: number) {
    this.path = join(ROOT, `margay-${name}-${process.pid}`);
    mkdirSync(this.path);
    writeFileSync(join(this.path, "memory.limit_in_bytes"), `${limitBytes}`);
  }

  /** The path of the group that this process is in. */
  static ours(): string {
    const [, path = "/"] = /^\d+:memory:(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8")) ?? [];
    return join(ROOT, path);
  }

  /** Bytes, at most at once since it was made; the page cache is in it. */
  peakBytes(): number {
    return Number(this.#read("memory.max_usage_in_bytes"));
  }

  /** How many processes were killed for it. */
  kills(): number {
    return Number(/oom_kill (\d+)/.exec(this.#read("memory.oom_control"))?.[1]);
  }

  isEmpty(): boolean {
    return this.#read("cgroup.procs") === "";
  }

  /** Once it is empty. */
  remove(): void {
    rmdirSync(this.path);
  }

  #read(file: string): string {
    return readFileSync(join(this.path, file), "utf8").trim();
  }
}
