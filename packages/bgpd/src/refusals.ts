import { formatPrefix } from "@margay/net";
import type { RefusedRoute, Route } from "@margay/netlink";
import type { Target } from "@margay/reconcile";
import type { Log } from "./speaker.ts";

/** Wanted routes that the kernel would not take, each with its words; they are tried again. */
export class Refusals {
  readonly #log: Log;
  /** Why, by prefix. */
  readonly #refused = new Map<string, string>();
  /** In the last attempt. */
  readonly #now = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** By prefix. */
  get all(): ReadonlyMap<string, string> {
    return this.#refused;
  }

  /** Said once for each reason: it is tried again every second. */
  add({ route, error }: RefusedRoute): void {
    const key = formatPrefix(route.dst);
    this.#now.add(key);
    if (this.#refused.get(key) === error.message) return;
    this.#refused.set(key, error.message);
    this.#log.warn({ event: "route-refused", route: key, err: error }, error.message);
  }

  /** The target, under which a prefix that was written, or is wanted no more, is no longer a refused one. */
  over(target: Target<Route>): Target<Route> {
    return {
      ...target,
      put: async (wanted) => {
        this.#now.clear();
        await target.put(wanted);
        for (const key of this.#refused.keys())
          if (wanted.has(key) && !this.#now.has(key)) this.#refused.delete(key);
      },
      remove: (keys) => {
        for (const key of keys) this.#refused.delete(key);
        return target.remove(keys);
      },
    };
  }
}
