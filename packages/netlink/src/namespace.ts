import { closeSync, existsSync, mkdirSync, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { isMainThread } from "node:worker_threads";
import { check, NetlinkError } from "./error.ts";
import { native } from "./native.ts";

const CLONE_NEWNET = 0x40000000;
const own = "/proc/thread-self/ns/net";

/** A worker ends alone, and the next one starts where the process is. */
function endThread(): never {
  if (isMainThread) process.abort();
  process.exit(1);
}

let isElsewhere = false;

/** Whether this thread is in another network namespace just now. */
export const isInside = (): boolean => isElsewhere;

/**
 * Runs `fn` with this thread in the network namespace at `path`, and comes back. `fn` must be one synchronous
 * stretch: until it returns, every spawned child and every reader of /proc/net sees that namespace. Sockets
 * opened inside stay there. A thread that cannot come back ends, the main thread with the process: nothing it did next
 * could be trusted.
 */
export function inNamespace<T>(path: string, fn: () => T): T {
  const target = openNamespace(path);
  const home = openSync(own, "r");
  try {
    check(native().setns(target, CLONE_NEWNET), `enter network namespace ${path}`);
    const before = isElsewhere;
    isElsewhere = true;
    try {
      const result = fn();
      if (result instanceof Promise) throw new TypeError("inNamespace: fn must be synchronous");
      return result;
    } finally {
      if (native().setns(home, CLONE_NEWNET) < 0) endThread();
      isElsewhere = before;
    }
  } finally {
    closeSync(home);
    closeSync(target);
  }
}

/** A descriptor that the caller closes. */
export function openNamespace(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new NetlinkError(codeOf(error), `open network namespace ${path}`);
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "EIO";

/**
 * Makes a network namespace and holds it by a bind mount at `path`, as `ip netns add` does (parents of `path` are
 * made). NetlinkError EEXIST when `path` exists; EPERM without CAP_SYS_ADMIN. Its loopback is down.
 */
export function newNamespace(path: string): void {
  const words = `create network namespace ${path}`;
  if (existsSync(path)) throw new NetlinkError("EEXIST", words);
  mkdirSync(dirname(path), { recursive: true });
  closeSync(openSync(path, "wx", 0o444));
  const home = openSync(own, "r");
  try {
    check(native().unshare(CLONE_NEWNET), words);
    try {
      check(native().bindMount(own, path), words);
    } finally {
      if (native().setns(home, CLONE_NEWNET) < 0) endThread();
    }
  } catch (error) {
    unlinkSync(path);
    throw error;
  } finally {
    closeSync(home);
  }
}

/** Undoes newNamespace; the namespace itself lives until its last process and socket are gone. Already gone is success. */
export function deleteNamespace(path: string): void {
  if (!existsSync(path)) return;
  const result = native().unmount(path);
  if (result !== -EINVAL) check(result, `delete network namespace ${path}`); // EINVAL: not a mount (any more)
  unlinkSync(path);
}

const EINVAL = 22;
