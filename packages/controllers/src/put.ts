import { parseKey } from "@margay/api";
import type { Entry } from "@margay/datastore";
import { isRefusal, type Writes } from "./grouped.ts";
import type { Surroundings } from "./parts.ts";

/** Somebody else may be faster so often before the work queue takes over. */
const TRIES = 3;

interface Amendment {
  readonly key: string;
  /** Gets the entry as it is and says its new value, null to delete it, undefined to leave it (pure). */
  readonly step: (now: Entry | undefined) => string | null | undefined;
  /** Spares the reading when it is still true. */
  readonly seen?: { readonly entry: Entry | undefined } | undefined;
}

/** Pure step, then compare-and-swap; what was written is counted, and `mirror` knows it at once. */
export async function amend(
  { writes, written }: Pick<Surroundings, "writes" | "written">,
  mirror: { observe(entry: Entry): void } | undefined,
  amendment: Amendment,
): Promise<void> {
  const done = await swap(writes, amendment);
  if (done.isWritten) written(parseKey(amendment.key)?.kind ?? "");
  if (done.entry) mirror?.observe(done.entry);
}

async function swap(
  writes: Writes,
  { key, step, seen }: Amendment,
): Promise<{ entry: Entry | undefined; isWritten: boolean }> {
  for (let tries = 1; ; tries++) {
    const entry = tries === 1 && seen ? seen.entry : await writes.get(key);
    const value = step(entry);
    if (value === undefined || value === entry?.value || (value === null && !entry))
      return { entry, isWritten: false };
    try {
      return { entry: await write(writes, { key, value, entry }), isWritten: true };
    } catch (error) {
      if (!isRefusal(error) || tries === TRIES) throw error;
    }
  }
}

async function write(
  writes: Writes,
  { key, value, entry }: { key: string; value: string | null; entry: Entry | undefined },
): Promise<Entry | undefined> {
  if (value !== null && entry) return writes.update(key, value, entry.revision);
  if (value !== null) return writes.create(key, value);
  await writes.delete(key, entry?.revision);
  return undefined;
}
