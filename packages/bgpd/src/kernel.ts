/** The kernel's side of bgpd: routes bearing our mark, made to match what is wanted; and the routes of others, by which next hops are reached. */
import { setImmediate as nextTurn, setTimeout as sleepFor } from "node:timers/promises";
import type { Address } from "@margay/net";
import {
  type Link,
  listRoutes,
  mainTable,
  Netlink,
  type Nexthop,
  type Notification,
  type Route,
  type RouteTarget,
  routeTarget,
  tableOf,
} from "@margay/netlink";
import { Loop, reconcile, Tracked } from "@margay/reconcile";
import type { Gateways } from "./gateways.ts";
import { bgpProtocol, Fabric, type Ways } from "./kernel-routes.ts";
import { Refusals } from "./refusals.ts";
import type { Log } from "./speaker.ts";
import { WantedRoutes } from "./wanted-routes.ts";

export interface KernelOptions {
  readonly log: Log;
  /** Next hops may be reached another way now. */
  readonly onFabric: () => void;
  /** Next hops in use: only where one of these is reached another way the fabric is said to be new. */
  readonly nextHops: () => Iterable<Address>;
  /** The routing table that is read and written; the main one when absent. Routes of others are not ours, whatever their protocol. */
  readonly table?: number;
  /** Path of a network namespace; this process's own when absent. */
  readonly namespace?: string;
}

/** Where routes are wanted, and how next hops are reached: the kernel, or nothing at all. */
export interface RouteTable extends Ways {
  /** Whether routes wanted here go anywhere. */
  readonly isWritten: boolean;
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

/** Routes with the same next hops, from which on they lean on nexthop objects (ADR 17): fewer are written in 15 ms. */
const many = 1024;

/** What is said in several turns is written together if they take no more CPU time than this: most of it may need one word only. */
const gatherMs = 500;

/** Refused routes are tried again after this. */
const retryMs = 1000;

export class Kernel implements RouteTable {
  readonly isWritten = true;
  readonly #options: KernelOptions;
  readonly #nl: Netlink;
  readonly #target: RouteTarget;
  readonly #tracked: Tracked<Route>;
  readonly #loop: Loop;
  readonly #wanted = new WantedRoutes();
  readonly #refusals: Refusals;
  readonly #table: number;
  readonly #isOurs = (route: Route) => tableOf(route) === this.#table;
  /** What was said of each link last, by index. */
  readonly #links = new Map<number, string>();
  #fabric = new Fabric([]);
  #gateways: Gateways = new Map();
  #fabricStale = true;
  #version = 0;
  /** Routes said since the last pass began. */
  #said = 0;
  #applied = -1;
  #started = false;
  #retry: NodeJS.Timeout | undefined;
  readonly counts = { passes: 0, put: 0, removed: 0, errors: 0, repairs: 0 };

  private constructor(options: KernelOptions) {
    this.#options = options;
    this.#refusals = new Refusals(options.log);
    this.#table = options.table ?? mainTable;
    this.#nl = Netlink.open({
      ...(options.namespace ? { namespace: options.namespace } : {}),
      groups: ["link", "route4", "route6", "nexthop"],
      onNotification: (n) => this.#notified(n),
      onOverflow: () => this.#distrustAll(),
    });
    this.#target = routeTarget(this.#nl, {
      protocol: bgpProtocol,
      only: this.#isOurs,
      onRefused: (refused) => this.#refusals.add(refused),
      shareFrom: many,
      onUnsupported: () =>
        options.log.info(
          { event: "no-nexthop-objects" },
          "this kernel has no nexthop objects: each route is changed by itself",
        ),
    });
    this.#tracked = new Tracked(this.#refusals.over(this.#target));
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
    await kernel.#nl.ignoreOwn(); // reading them was a quarter of the work of writing 100,000 routes
    await kernel.#readFabric();
    kernel.#wanted.keep(await kernel.#target.list());
    return kernel;
  }

  cost(nextHop: Address): number | undefined {
    return this.#asked(this.#fabric.cost(nextHop));
  }

  hopsTo(nextHop: Address): readonly Nexthop[] | undefined {
    return this.#asked(this.#fabric.hopsTo(nextHop));
  }

  /** Our routes are in the kernel already: this process follows another one. */
  get hasOldRoutes(): boolean {
    return this.#wanted.hasOld;
  }

  /** The wanted route of a prefix, or none. */
  want(key: string, route: Route | undefined): void {
    this.#said++;
    this.#wanted.set(key, route && (this.#isOurs(route) ? route : { ...route, table: this.#table }));
    this.#changed();
  }

  setGateways(gateways: Gateways): void {
    this.#gateways = gateways;
    this.#renew();
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
    return this.#refusals.all.get(key);
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

  /** The fabric's answer; another fabric is due when that is spent. */
  #asked<A>(answer: A): A {
    if (this.#fabric.isSpent && !this.#fabricStale) this.#renew();
    return answer;
  }

  #renew(): void {
    this.#fabricStale = true;
    this.#changed();
  }

  #changed(): void {
    this.#version++;
    if (this.#started) this.#loop.trigger();
  }

  async #pass(): Promise<void> {
    if (this.#fabricStale) {
      const before = this.#fabric;
      await this.#readFabric();
      if (!this.#fabric.answersAs(before)) this.#options.onFabric();
    }
    await this.#gather();
    const version = this.#version;
    const [outcome] = await reconcile([this.#tracked.to(this.#wanted.all)]);
    this.counts.passes++;
    this.counts.put += outcome?.put ?? 0;
    this.counts.removed += outcome?.removed ?? 0;
    this.#applied = version;
    if (this.#refusals.all.size > 0) this.#retryLater();
  }

  /** Where many are said, those of the turns that follow at once come along. */
  async #gather(): Promise<void> {
    const end = cpuMs() + gatherMs;
    for (let said = 0; this.#said >= many && this.#said > said && cpuMs() < end; ) {
      said = this.#said;
      await nextTurn();
    }
    this.#said = 0;
  }

  async #readFabric(): Promise<void> {
    this.#fabricStale = false;
    const routes = await listRoutes(this.#nl, { table: this.#table });
    this.#fabric = new Fabric(routes, { nextHops: this.#options.nextHops(), gateways: this.#gateways });
  }

  /** Once all the refused, whatever else is written meanwhile. */
  #retryLater(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#tracked.doubt(this.#refusals.all.keys());
      this.#changed();
    }, retryMs);
  }

  /** Only records: the next pass reads and repairs. */
  #notified(n: Notification): void {
    if (n.kind === "route" && this.#isOurs(n.route)) this.#routeChanged(n.change, n.route);
    if (n.kind === "nexthop") this.#repair(this.#target.heardObject(n.change, n.object));
    if (n.kind === "link") this.#linkChanged(n.link, n.change === "deleted");
  }

  /** A link that goes takes its IPv4 routes with it, unannounced; another MTU, or who listens, is nothing to us. */
  #linkChanged({ index, name, up, state }: Link, isGone: boolean): void {
    const now = isGone ? "" : `${name} ${up} ${state}`;
    if (this.#links.get(index) === now) return;
    if (isGone) this.#links.delete(index);
    else this.#links.set(index, now);
    if (this.#fabric.uses(name)) this.#distrustAll();
  }

  #routeChanged(change: "new" | "deleted", route: Route): void {
    const { protocol, dst } = route;
    const ours = this.#target.heard(change, route);
    if (ours !== undefined) this.#repair([ours]);
    if (protocol === bgpProtocol) return;
    if (this.#fabric.concerns(dst)) this.#renew();
    else this.#fabric.tableChanged();
  }

  #repair(keys: readonly string[] | "all"): void {
    if (keys.length === 0) return;
    this.counts.repairs++;
    if (keys === "all") this.#tracked.distrust();
    else this.#tracked.doubt(keys);
    this.#changed();
  }

  #distrustAll(): void {
    this.#tracked.distrust();
    this.#renew();
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage(); // microseconds
  return (user + system) / 1000;
}
