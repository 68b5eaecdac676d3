/** The kernel's side of bgpd: routes bearing our mark, made to match what is wanted; and the routes of others, by which next hops are reached. */
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Address, formatPrefix } from "@margay/net";
import {
  listRoutes,
  mainTable,
  Netlink,
  NetlinkError,
  type Notification,
  type RefusedRoute,
  type Route,
  routeTarget,
} from "@margay/netlink";
import { Loop, reconcile, type Target, Tracked } from "@margay/reconcile";
import type { Gateways } from "./gateways.ts";
import { bgpProtocol, Fabric } from "./kernel-routes.ts";
import type { Log } from "./speaker.ts";
import { WantedRoutes } from "./wanted-routes.ts";

export interface KernelOptions {
  readonly log: Log;
  /** Next hops may be reached another way now; `kernel.fabric` is new. */
  readonly onFabric: () => void;
  /** Path of a network namespace; this process's own when absent. */
  readonly namespace?: string;
}

/** Where routes are wanted, and how next hops are reached: the kernel, or nothing at all. */
export interface RouteTable {
  /** Whether routes wanted here go anywhere. */
  readonly isWritten: boolean;
  readonly fabric: Fabric;
  /** Of a next hop, for the decision process; undefined when there is no way. */
  cost(nextHop: Address): number | undefined;
  readonly hasOldRoutes: boolean;
  readonly isSettled: boolean;
  readonly size: number;
  readonly counts: { readonly repairs: number; readonly errors: number };
  want(key: string, route: Route | undefined): void;
  /** Next hops that lie behind a gateway. */
  setGateways(gateways: Gateways): void;
  start(): void;
  release(): void;
  refusal(key: string): string | undefined;
  wanted(key: string): Route | undefined;
  stop(): Promise<void>;
}

/** Refused routes are tried again after this. */
const retryMs = 1000;

export class Kernel implements RouteTable {
  readonly isWritten = true;
  readonly #options: KernelOptions;
  readonly #nl: Netlink;
  readonly #tracked: Tracked<Route>;
  readonly #loop: Loop;
  readonly #wanted = new WantedRoutes();
  /** Why, by prefix; they are tried again. */
  readonly #refused = new Map<string, string>();
  #fabric = new Fabric([]);
  #gateways: Gateways = new Map();
  #fabricStale = true;
  #version = 0;
  #applied = -1;
  #started = false;
  #retry: NodeJS.Timeout | undefined;
  readonly counts = { passes: 0, put: 0, removed: 0, errors: 0, repairs: 0 };

  private constructor(options: KernelOptions) {
    this.#options = options;
    this.#nl = Netlink.open({
      ...(options.namespace ? { namespace: options.namespace } : {}),
      groups: ["link", "route4", "route6"],
      onNotification: (n) => this.#notified(n),
      onOverflow: () => this.#distrustAll(),
    });
    const onRefused = (refused: RefusedRoute) => this.#refuse(refused);
    const target = routeTarget(this.#nl, { protocol: bgpProtocol, onRefused });
    this.#tracked = new Tracked(forgetting(target, this.#refused));
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}), // aborted: the loop stops
      onError: (error, retryInMs) => {
        this.counts.errors++;
        options.log.warn(
          { event: "kernel-failed", err: error, retryInMs },
          "kernel routes could not be written",
        );
      },
    });
  }

  /** Reads the tables. Nothing is written before `start`. */
  static async open(options: KernelOptions): Promise<Kernel> {
    const kernel = new Kernel(options);
    await kernel.#readFabric();
    const ours = (await listRoutes(kernel.#nl, { protocol: bgpProtocol })).map(
      (r) => [formatPrefix(r.dst), r] as const,
    );
    kernel.#wanted.keep(new Map(ours));
    return kernel;
  }

  /** How next hops are reached now. */
  get fabric(): Fabric {
    return this.#fabric;
  }

  cost(nextHop: Address): number | undefined {
    return this.#fabric.cost(nextHop);
  }

  /** Our routes are in the kernel already: this process follows another one. */
  get hasOldRoutes(): boolean {
    return this.#wanted.hasOld;
  }

  /** The wanted route of a prefix, or none. */
  want(key: string, route: Route | undefined): void {
    this.#wanted.set(key, route);
    this.#changed();
  }

  setGateways(gateways: Gateways): void {
    this.#gateways = gateways;
    this.#fabricStale = true;
    this.#changed();
  }

  /** From now on the kernel is written; routes that an earlier process left stay until `release`. */
  start(): void {
    this.#started = true;
    this.#changed();
  }

  /** What is known now is all there is: what the earlier process left and nobody announced again goes. */
  release(): void {
    if (!this.#wanted.hasOld) return;
    this.#wanted.release();
    this.#changed();
  }

  /** All that is wanted has been written (or refused). */
  get isSettled(): boolean {
    return this.#applied === this.#version;
  }

  /** Why the kernel refused a wanted route, if it did. */
  refusal(key: string): string | undefined {
    return this.#refused.get(key);
  }

  wanted(key: string): Route | undefined {
    return this.#wanted.get(key);
  }

  get size(): number {
    return this.#wanted.size;
  }

  /** Leaves the routes: forwarding goes on without us. */
  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    await this.#loop.stop();
    this.#nl.close();
  }

  #changed(): void {
    this.#version++;
    if (this.#started) this.#loop.trigger();
  }

  async #pass(): Promise<void> {
    if (this.#fabricStale) {
      await this.#readFabric();
      this.#options.onFabric();
    }
    const version = this.#version;
    const [outcome] = await reconcile([this.#tracked.to(this.#wanted.all)]);
    this.counts.passes++;
    this.counts.put += outcome?.put ?? 0;
    this.counts.removed += outcome?.removed ?? 0;
    this.#applied = version;
    if (this.#refused.size > 0) this.#retryLater();
  }

  async #readFabric(): Promise<void> {
    this.#fabricStale = false;
    const routes = await listRoutes(this.#nl, { table: mainTable });
    this.#fabric = new Fabric(routes, this.#fabric, this.#gateways);
  }

  #refuse({ route, error }: RefusedRoute): void {
    const key = formatPrefix(route.dst);
    this.#refused.set(key, error instanceof NetlinkError ? error.message : String(error));
    this.#options.log.warn({ event: "route-refused", route: key, err: error }, error.message);
  }

  /** Once all the refused, whatever else is written meanwhile. */
  #retryLater(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#tracked.doubt(this.#refused.keys());
      this.#changed();
    }, retryMs);
  }

  /** Only records: the next pass reads and repairs. */
  #notified(n: Notification): void {
    if (n.kind === "route" && !n.own && (n.route.table ?? mainTable) === mainTable)
      this.#routeChanged(n.route);
    // A link that goes takes its IPv4 routes with it, unannounced.
    if (n.kind === "link" && this.#fabric.uses(n.link.name)) this.#distrustAll();
  }

  #routeChanged({ protocol, dst }: Route): void {
    if (protocol === bgpProtocol) {
      this.counts.repairs++;
      this.#tracked.distrust();
    } else if (this.#fabric.concerns(dst)) this.#fabricStale = true;
    else return;
    this.#changed();
  }

  #distrustAll(): void {
    this.#fabricStale = true;
    this.#tracked.distrust();
    this.#changed();
  }
}

/** The target, under which a prefix that is written is no longer a refused one. */
function forgetting(target: Target<Route>, refused: Map<string, string>): Target<Route> {
  const forget = (keys: Iterable<string>) => {
    for (const key of keys) refused.delete(key);
  };
  return {
    ...target,
    put: (wanted) => {
      forget(wanted.keys());
      return target.put(wanted);
    },
    remove: (keys) => {
      forget(keys);
      return target.remove(keys);
    },
  };
}
