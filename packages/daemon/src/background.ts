import { readdirSync, readFileSync } from "node:fs";
import { constants, getPriority, setPriority } from "node:os";

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
  const named = compilers();
  return renice(named, constants.priority.PRIORITY_LOW) ? named.length : 0; // a sandbox that forbids it costs time, and nothing else
}

/** Longer than what takes the loop now and then; ms. */
const momentMs = 50;

/**
 * The same for a process to which a lot comes at once, now and then: while that keeps it busy for more than a moment, who
 * compiles has as much of the processors as itself, since code that is not compiled costs more then.
 */
export class Compilers {
  readonly #threads = compilers();
  readonly #own = getPriority();
  #asked = { at: performance.now(), loop: performance.eventLoopUtilization() };
  #watch: NodeJS.Timeout | undefined;

  /** Undefined where a thread's priority, once taken (CAP_SYS_NICE), cannot be given back: all stays as it is. */
  static open(): Compilers | undefined {
    const all = new Compilers();
    if (all.#threads.length === 0 || !mayGiveBack()) return undefined;
    return renice(all.#threads, constants.priority.PRIORITY_LOW) ? all : undefined;
  }

  /** To be called whenever there is work; costs a look at the clock. */
  look(): void {
    if (this.#watch || performance.now() - this.#asked.at < momentMs || !this.#isBusy()) return;
    renice(this.#threads, this.#own);
    this.#watch = setInterval(() => this.#isBusy() || this.#rest(), momentMs).unref();
  }

  /** Most of the time since it was asked last. */
  #isBusy(): boolean {
    const { loop } = this.#asked;
    this.#asked = { at: performance.now(), loop: performance.eventLoopUtilization() };
    return performance.eventLoopUtilization(this.#asked.loop, loop).utilization > 0.5;
  }

  #rest(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
    renice(this.#threads, constants.priority.PRIORITY_LOW);
  }
}

/** CAP_SYS_NICE is bit 23 (capabilities(7)). Asked, not tried: a priority that was taken would stay so. */
function mayGiveBack(): boolean {
  const [, effective = "0"] = /^CapEff:\s*(\w+)/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return ((BigInt(`0x${effective}`) >> 23n) & 1n) === 1n;
}

const compilers = (): number[] => readdirSync("/proc/self/task").filter(isCompiler).map(Number);

/** Whether the system let us. */
function renice(threads: readonly number[], nice: number): boolean {
  try {
    for (const id of threads) setPriority(id, nice);
    return true;
  } catch {
    return false;
  }
}

/** A thread may end while its name is read. */
function isCompiler(id: string): boolean {
  try {
    return readFileSync(`/proc/self/task/${id}/comm`, "utf8").startsWith(COMPILERS);
  } catch {
    return false;
  }
}
