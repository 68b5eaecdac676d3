import { setTimeout as sleep } from "node:timers/promises";
import { deleteLinks, type Netlink } from "@margay/netlink";

/**
 * Between two removals the kernel's network lock is free for so long, for other pods' ADD; DELs that come meanwhile share
 * the next.
 */
const GAP_MS = 10;

/**
 * Removes veths by their host ends; gone already is success. The kernel takes 20 ms for one, and hardly longer for fifty:
 * those asked for meanwhile go together. Whoever gives a `Netlink` in the background keeps this thread free.
 */
export function unwirer(nl: Netlink): (hostInterface: string) => Promise<void> {
  let names: string[] = [];
  let removal: Promise<void> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const gap = () => sleep(GAP_MS);

  function removeNext(): Promise<void> {
    const done = last.then(() => {
      const batch = names;
      [names, removal] = [[], undefined];
      return deleteLinks(nl, batch);
    });
    last = done.then(gap, gap); // a failure is its callers' to hear
    return done;
  }

  return (hostInterface) => {
    names.push(hostInterface);
    removal ??= removeNext();
    return removal;
  };
}
