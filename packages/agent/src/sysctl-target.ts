import { NetlinkError, readSysctl, sysctl } from "@margay/netlink";
import type { Target } from "@margay/reconcile";
import type { Settings } from "./wanted.ts";

interface SysctlTarget extends Target<Settings> {
  /** What somebody has just set, of an interface that they made: the first `put` does not look again. */
  done(owner: string, settings: Settings): void;
  /** It is gone. */
  undone(owner: string): void;
}

/**
 * Kernel settings by what they belong to. The kernel keeps no mark on them, so what is ours is what this process has set;
 * `list` reads those back. Removing leaves the value: what was there before is not known, and an interface takes its own along.
 */
export function sysctlTarget(): SysctlTarget {
  const ours = new Map<string, Settings>();
  const done = new Map<string, Settings>();
  return {
    name: "sysctls",
    done: (owner, settings) => {
      if (!ours.has(owner)) done.set(owner, settings);
    },
    undone: (owner) => void done.delete(owner),
    list: async () => new Map([...ours].map(([owner, settings]) => [owner, readBack(settings)])),
    put: async (wanted) => {
      for (const [owner, settings] of wanted) {
        ours.set(owner, settings);
        const known = done.get(owner);
        done.delete(owner); // later it may have been made anew
        for (const [name, value] of settings)
          if (known?.get(name) !== value) unlessGone(() => sysctl(name, value));
      }
    },
    remove: async (owners) => {
      for (const owner of owners) ours.delete(owner);
    },
    same: (actual, wanted) => [...wanted].every(([name, value]) => actual.get(name) === value),
  };
}

const readBack = (settings: Settings): Settings =>
  new Map([...settings.keys()].map((name) => [name, unlessGone(() => readSysctl(name)) ?? ""]));

/** An interface may vanish at any time, and its settings with it: the next reading finds out. */
function unlessGone<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
