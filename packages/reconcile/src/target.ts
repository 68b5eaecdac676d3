/**
 * A part of the world that we own and can make match a map.
 * Keys are canonical text (`"10.244.1.0/26"`, `"cali-FORWARD"`); a value says all about its key.
 */
export interface Target<V> {
  /** For logs, metrics and errors: `"routes"`, `"ipsets4"`. */
  readonly name: string;
  /** What bears our mark now. Nothing foreign is ever listed. */
  list(): Promise<ReadonlyMap<string, V>>;
  /** Creates or replaces; one batch, as atomic as the world allows. Throws if any of it failed. */
  put(wanted: ReadonlyMap<string, V>): Promise<void>;
  /** Removes; a key already gone is success. */
  remove(keys: readonly string[]): Promise<void>;
  /** Whether the world's value needs no put. */
  same(actual: V, wanted: V): boolean;
}

/** What must change in one target. */
export interface Plan<V> {
  readonly put: ReadonlyMap<string, V>;
  readonly remove: readonly string[];
}

/** Whether the world's value needs no put. */
export type Same<V> = (actual: V, wanted: V) => boolean;

/** The difference between what is and what should be (pure). */
export function plan<V>(
  actual: ReadonlyMap<string, V>,
  wanted: ReadonlyMap<string, V>,
  same: Same<V>,
): Plan<V> {
  const put = differing(actual, wanted, same);
  return { put, remove: [...actual.keys()].filter((key) => !wanted.has(key)) };
}

/** What of the wanted is not there, or is something else (pure). */
export function differing<V>(
  actual: ReadonlyMap<string, V>,
  wanted: ReadonlyMap<string, V>,
  same: Same<V>,
): Map<string, V> {
  const put = new Map<string, V>();
  for (const [key, value] of wanted) {
    const now = actual.get(key);
    if (now === undefined || (now !== value && !same(now, value))) put.set(key, value);
  }
  return put;
}
