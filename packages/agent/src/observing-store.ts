import type { Entry, Store } from "@margay/datastore";

/** The store, telling of each write that went through it: what this process writes takes effect here without waiting for the watch. */
export function observingStore(store: Store, observe: (entry: Entry) => void): Store {
  const told = async (write: Promise<Entry>): Promise<Entry> => {
    const entry = await write;
    observe(entry);
    return entry;
  };
  return {
    get: (key) => store.get(key),
    list: (prefix) => store.list(prefix),
    watch: (...of) => store.watch(...of),
    create: (key, value, options) => told(store.create(key, value, options)),
    update: (key, value, ifRevision) => told(store.update(key, value, ifRevision)),
    put: (key, value, options) => told(store.put(key, value, options)),
    delete: (key, ifRevision) => store.delete(key, ifRevision),
    commit: async (changes) => {
      const entries = await store.commit(changes);
      for (const entry of entries) observe(entry);
      return entries;
    },
    close: () => store.close(),
  };
}
