import { isDeepStrictEqual } from "node:util";
import type { Target } from "@margay/reconcile";
import type { OnRepaired } from "./ruleset.ts";

/** What the kernel held when it was last read or written. */
interface Belief<V> {
  readonly value: V;
  readonly isRead: boolean;
}

/**
 * A target that tells of repairs: what was there after the last reading or writing, was gone or different at the next reading,
 * and has been put again; and what had come in between, and has been removed.
 */
export function telling<V>(target: Target<V>, onRepaired: OnRepaired): Target<V> {
  let believed: Map<string, Belief<V>> | undefined;
  const damaged = new Set<string>();
  const intruders = new Set<string>();
  /** What a write that failed was about: as it was, or as it was to be. */
  const unsure = new Set<string>();
  const isSame = (now: V, { value, isRead }: Belief<V>) =>
    isRead ? isDeepStrictEqual(now, value) : target.same(now, value);
  const compare = (now: ReadonlyMap<string, V>, before: ReadonlyMap<string, Belief<V>>) => {
    for (const [key, belief] of before) {
      const value = now.get(key);
      if (!unsure.has(key) && (value === undefined || !isSame(value, belief))) damaged.add(key);
    }
    for (const key of now.keys()) if (!before.has(key) && !unsure.has(key)) intruders.add(key);
  };
  const writing = async (
    keys: Iterable<string>,
    act: () => Promise<void>,
  ): Promise<Map<string, Belief<V>>> => {
    try {
      await act();
    } catch (error) {
      for (const key of keys) unsure.add(key);
      throw error;
    }
    believed ??= new Map();
    return believed;
  };
  const tell = (keys: readonly string[], of: Set<string>) => {
    const repaired = keys.filter((key) => of.delete(key));
    if (repaired.length > 0) onRepaired(repaired);
  };
  return {
    ...{ name: target.name, same: target.same },
    list: async () => {
      const now = await target.list();
      if (believed) compare(now, believed);
      unsure.clear();
      believed = new Map([...now].map(([key, value]) => [key, { value, isRead: true }]));
      return now;
    },
    put: async (wanted) => {
      const after = await writing(wanted.keys(), () => target.put(wanted));
      for (const [key, value] of wanted) after.set(key, { value, isRead: false });
      tell([...wanted.keys()], damaged);
    },
    remove: async (keys) => {
      const after = await writing(keys, () => target.remove(keys));
      for (const key of keys) after.delete(key);
      tell(keys, intruders);
    },
  };
}
