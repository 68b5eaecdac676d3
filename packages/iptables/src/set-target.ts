import { setTimeout } from "node:timers/promises";
import type { Target } from "@margay/reconcile";
import { IptablesError } from "./error.ts";
import { type IpSet, parseSets, type SavedSet, sameSet } from "./set.ts";
import { setPut, setRemove } from "./set-restore.ts";
import { run } from "./tool.ts";

/** Which sets of which kernel to own. */
export interface IpsetOptions {
  /** Our sets' names begin with it; one target for each prefix, for example `margay4-`. */
  readonly prefix: string;
  /** Path of a network namespace; our own by default. */
  readonly namespace?: string;
}

export interface SetTarget extends Target<IpSet> {
  /** The sets as last read or written, members as the kernel has them; undefined before that and while a write is under way. */
  known(): ReadonlyMap<string, IpSet> | undefined;
}

/** The kernel lets go of a set some 10 ms after the rule that named it has gone. */
const RETRY_MS = [0, 20, 60, 120];

/**
 * The sets whose names begin with a prefix. A put is one `ipset restore`; it is not a transaction: after a failure the
 * lines before the offending one stand. Put sets before the chains that name them, and remove them after.
 */
export function ipsetTarget({ prefix, namespace }: IpsetOptions): SetTarget {
  let known: Map<string, SavedSet> | undefined;
  const read = async () => {
    known = parseSets(await run({ tool: "ipset", args: ["save"], namespace }), prefix);
    return known;
  };
  const restore = async (input: string) => {
    known = undefined;
    if (input !== "") await run({ tool: "ipset", args: ["restore", "-exist"], input, namespace });
  };
  return {
    name: `ipsets ${prefix}`,
    known: () => known,
    list: async () => new Map(await read()),
    put: async (wanted) => {
      const before = known ?? (await read());
      const { input, after } = setPut(before, wanted, prefix);
      await restore(input);
      known = new Map([...before, ...after]);
    },
    remove: async (names) => {
      const before = known;
      let left = names;
      for (const waitMs of [...RETRY_MS, undefined]) {
        try {
          await restore(setRemove(left));
          break;
        } catch (error) {
          if (waitMs === undefined || !(error instanceof IptablesError) || error.code !== "rejected")
            throw error;
          await setTimeout(waitMs);
          const there = await read();
          left = names.filter((name) => there.has(name));
        }
      }
      known = before && new Map([...before].filter(([name]) => !names.includes(name)));
    },
    same: sameSet,
  };
}
