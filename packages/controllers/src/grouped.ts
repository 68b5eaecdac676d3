import { type Change, type Entry, MAX_CHANGES, type Store, StoreError } from "@margay/datastore";

/** The writes of a store to single keys, without times to live. */
export interface Writes {
  readonly get: Store["get"];
  create(key: string, value: string): Promise<Entry>;
  update(key: string, value: string, ifRevision: number): Promise<Entry>;
  delete(key: string, ifRevision?: number): Promise<void>;
}

/** Values in one commit: etcd takes requests of 1.5 MB. Counted in UTF-16 units, of which nearly all are one byte. */
const MAX_LENGTH = 512 * 1024;
/** While so many are under way, writes wait and so become a group. */
const MAX_UNDER_WAY = 2;

interface Asked {
  readonly change: Change;
  readonly resolve: (entry: Entry | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A store whose writes go together: a lone one at once, those that are asked for while others are under way in one commit. A
 * commit that is refused is taken apart, so that what stands against one key is told of that key alone.
 */
export function grouped(store: Store): Writes {
  let waiting: Asked[] = [];
  let underWay = 0;

  const ask = (change: Change): Promise<Entry | undefined> =>
    new Promise((resolve, reject) => {
      waiting.push({ change, resolve, reject });
      pump();
    });

  function pump(): void {
    while (waiting.length > 0 && underWay < MAX_UNDER_WAY) {
      const { group, rest } = nextGroup(waiting);
      waiting = rest;
      underWay++;
      void write(store, group).finally(() => {
        underWay--;
        pump();
      });
    }
  }

  return {
    get: (key) => store.get(key),
    create: async (key, value) => written(key, await ask({ type: "create", key, value })),
    update: async (key, value, ifRevision) =>
      written(key, await ask({ type: "update", key, value, ifRevision })),
    delete: async (key, ifRevision) =>
      void (await ask({ type: "delete", key, ...(ifRevision !== undefined && { ifRevision }) })),
  };
}

/** As many of the first as fit into one commit, each key once. */
function nextGroup(waiting: readonly Asked[]): { group: Asked[]; rest: Asked[] } {
  const group: Asked[] = [];
  const keys = new Set<string>();
  let length = 0;
  for (const one of waiting) {
    const { change } = one;
    length += change.type === "delete" ? 0 : change.value.length;
    const isFull = group.length === MAX_CHANGES || (group.length > 0 && length > MAX_LENGTH);
    if (isFull || keys.has(change.key)) break;
    keys.add(change.key);
    group.push(one);
  }
  return { group, rest: waiting.slice(group.length) };
}

async function write(store: Store, group: readonly Asked[]): Promise<void> {
  try {
    const entries = await store.commit(group.map(({ change }) => change));
    const at = new Map(entries.map((entry) => [entry.key, entry]));
    for (const { change, resolve } of group) resolve(at.get(change.key));
  } catch (error) {
    if (group.length > 1 && (isRefusal(error) || isTooLarge(error)))
      await Promise.all(group.map((one) => write(store, [one])));
    else for (const { reject } of group) reject(error);
  }
}

/** Whether a key was not as its writer thought. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof StoreError && ["exists", "conflict", "not-found"].includes(error.code);

/** Whether the datastore will never take it: no work that is left. */
export const isTooLarge = (error: unknown): boolean =>
  error instanceof StoreError && error.code === "too-large";

function written(key: string, entry: Entry | undefined): Entry {
  if (!entry) throw new Error(`${key} was committed without an entry`);
  return entry;
}
