import type { Work } from "@margay/reconcile";

/** A step of `reconcile` whose desired state is asked for when its turn comes, by the name of its target. */
export function late(name: string, make: () => Work): Work {
  let work: Work | undefined;
  return {
    name,
    refresh: async () => undefined,
    put: async () => {
      work = make();
      await work.refresh();
      return work.put();
    },
    remove: async () => work?.remove() ?? 0,
  };
}
