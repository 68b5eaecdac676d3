import type { Work } from "@margay/reconcile";

/** Several works as one step of `reconcile`, done side by side: they must not depend on each other. */
export function together(name: string, works: readonly Work[]): Work {
  return {
    name,
    refresh: async () => {
      await all(works.map((work) => work.refresh()));
    },
    put: async () => sum(await all(works.map((work) => work.put()))),
    remove: async () => sum(await all(works.map((work) => work.remove()))),
  };
}

/** Waits for all, then throws the first failure: nothing runs on behind a pass that has ended. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);
