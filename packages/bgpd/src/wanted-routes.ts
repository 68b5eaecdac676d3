import type { Route } from "@margay/netlink";
import { Edited } from "@margay/reconcile";

/** The kernel routes that we want by prefix, and behind them those that an earlier process of ours left, until `release`. */
export class WantedRoutes {
  /** Both together: what the kernel shall hold. */
  readonly all = new Edited<Route>();
  #old: ReadonlyMap<string, Route> = new Map();
  /** Of the old ones, those that nothing wanted stands in front of. */
  readonly #showing = new Set<string>();

  /** What is there already. Before anything is wanted. */
  keep(old: ReadonlyMap<string, Route>): void {
    this.#old = old;
    for (const [key, route] of old) this.#show(key, route);
  }

  get hasOld(): boolean {
    return this.#old.size > 0;
  }

  set(key: string, route: Route | undefined): void {
    const old = this.#old.get(key);
    if (!route && old) {
      this.#show(key, old);
      return;
    }
    this.#showing.delete(key);
    if (route) this.all.set(key, route);
    else this.all.delete(key);
  }

  get(key: string): Route | undefined {
    return this.#showing.has(key) ? undefined : this.all.get(key);
  }

  get size(): number {
    return this.all.size - this.#showing.size;
  }

  /** Old ones go, but where a wanted one has come. */
  release(): void {
    for (const key of this.#showing) this.all.delete(key);
    this.#showing.clear();
    this.#old = new Map();
  }

  #show(key: string, old: Route): void {
    this.#showing.add(key);
    this.all.set(key, old);
  }
}
