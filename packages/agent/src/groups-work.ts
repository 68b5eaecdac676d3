import { type Netlink, setGroups } from "@margay/netlink";
import type { Work } from "@margay/reconcile";
import type { Move } from "./cohorts.ts";
import type { LinkTable } from "./link-table.ts";

/**
 * Puts interfaces into the groups by which they are dispatched, once the rules for these are in force. Of those that were in another, or had
 * rules of their own, the kernel tells, and the pass for which that asks takes these away.
 */
export function groupsWork(netlink: Netlink, links: LinkTable, moves: () => ReadonlyMap<string, Move>): Work {
  return {
    name: "groups",
    refresh: async () => undefined,
    put: async () => {
      const there = [...moves()].filter(
        ([name, { group }]) => ![undefined, group].includes(links.groupOf(name)),
      );
      if (there.length === 0) return 0;
      await setGroups(netlink, new Map(there.map(([name, { group }]) => [name, group])));
      for (const [name, { group, isMember }] of there) if (isMember) links.grouped(name, group);
      return there.length;
    },
    remove: async () => 0,
  };
}
