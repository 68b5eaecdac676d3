import { type Entry, type Store, StoreError } from "@margay/datastore";

/** Somebody else may be faster so often before the work queue takes over. */
const TRIES = 3;

/**
 * Pure step, then compare-and-swap: `step` gets the entry as it is and says its new value, null to delete it, undefined to
 * leave it. `seen` spares the reading when it is still true.
 * @returns the entry as it is afterwards, and whether anything was written
 */
export async function amend(
  store: Store,
  key: string,
  step: (now: Entry | undefined) => string | null | undefined,
  seen?: { readonly entry: Entry | undefined },
): Promise<{ entry: Entry | undefined; written: boolean }> {
  for (let tries = 1; ; tries++) {
    const entry = tries === 1 && seen ? seen.entry : await store.get(key);
    const value = step(entry);
    if (value === undefined || value === entry?.value || (value === null && !entry))
      return { entry, written: false };
    try {
      return { entry: await write(store, { key, value, entry }), written: true };
    } catch (error) {
      const isRace = error instanceof StoreError && ["exists", "conflict", "not-found"].includes(error.code);
      if (!isRace || tries === TRIES) throw error;
    }
  }
}

async function write(
  store: Store,
  { key, value, entry }: { key: string; value: string | null; entry: Entry | undefined },
): Promise<Entry | undefined> {
  if (value !== null && entry) return store.update(key, value, entry.revision);
  if (value !== null) return store.create(key, value);
  await store.delete(key, entry?.revision);
  return undefined;
}
