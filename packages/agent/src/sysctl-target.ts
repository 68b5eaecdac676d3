import { NetlinkError, readSysctl, sysctl } from "@margay/netlink";
import type { Target } from "@margay/reconcile";

/**
 * Kernel settings by sysctl name. The kernel keeps no mark on them, so what is ours is what this process has set; `list` reads
 * those back. Removing leaves the value: what was there before is not known, and an interface takes its own along.
 */
export function sysctlTarget(): Target<string> {
  const ours = new Set<string>();
  return {
    name: "sysctls",
    list: async () => new Map([...ours].flatMap((name) => found(name))),
    put: async (wanted) => {
      for (const [name, value] of wanted) {
        ours.add(name);
        unlessGone(() => sysctl(name, value));
      }
    },
    remove: async (names) => {
      for (const name of names) ours.delete(name);
    },
    same: (actual, wanted) => actual === wanted,
  };
}

const found = (name: string): [string, string][] => {
  const value = unlessGone(() => readSysctl(name));
  return value === undefined ? [] : [[name, value]];
};

/** An interface may vanish at any time, and its settings with it: the next reading finds out. */
function unlessGone<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
