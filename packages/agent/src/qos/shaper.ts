import { setTimeout as sleep } from "node:timers/promises";
import type { WorkloadEndpoint } from "@margay/api";
import type { Link, Netlink } from "@margay/netlink";
import { Loop, Tracked } from "@margay/reconcile";
import { hasIfb, shapingTarget } from "./shaping-target.ts";
import { type Shaping, wantedShaping, withSlowPeak } from "./wanted.ts";

export interface ShaperOptions {
  readonly netlink: Netlink;
  /** This node's, those with limits at least. */
  readonly endpoints: () => readonly WorkloadEndpoint[];
  readonly onError: (error: unknown, retryInMs: number) => void;
  /** Once for each endpoint, as long as a peak of it is not above its bandwidth. */
  readonly onSlowPeak: (endpoint: string) => void;
}

/** Keeps the limits of pods' traffic. Beside the dataplane: a pod does not wait for them, and most have none. */
export class Shaper {
  readonly #options: ShaperOptions;
  readonly #tracked: Tracked<Shaping>;
  readonly #loop: Loop;
  #wanted: ReadonlyMap<string, Shaping> = new Map();
  #text = "";
  #slow: ReadonlySet<string> = new Set();
  #hasLooked = false;

  constructor(options: ShaperOptions) {
    this.#options = options;
    this.#tracked = new Tracked(shapingTarget(options.netlink));
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined), // early is fine
      onError: options.onError,
    });
  }

  /** Endpoints may be others. The first time, what an earlier agent left is looked for. */
  heedEndpoints(): void {
    const endpoints = this.#options.endpoints();
    this.#tellSlow(new Set(withSlowPeak(endpoints)));
    const wanted = wantedShaping(endpoints);
    const text = JSON.stringify([...wanted]);
    if (text === this.#text) return;
    this.#wanted = wanted;
    this.#text = text;
    this.#loop.trigger();
  }

  #tellSlow(now: ReadonlySet<string>): void {
    for (const endpoint of now) if (!this.#slow.has(endpoint)) this.#options.onSlowPeak(endpoint);
    this.#slow = now;
  }

  /** A pod's interface is there, or there anew: without its limits. */
  heedLink({ name }: Link): void {
    if (!this.#wanted.has(name)) return;
    this.#tracked.distrust();
    this.#loop.trigger();
  }

  /** Reads the queues again. */
  recheck(): void {
    if (this.#wanted.size === 0) return;
    this.#tracked.distrust();
    this.#loop.trigger();
  }

  /** A node without limits, and without what is left of any, needs no tc. */
  async #pass(): Promise<void> {
    const isNone = this.#wanted.size === 0 && !this.#hasLooked && !(await hasIfb(this.#options.netlink));
    this.#hasLooked = true;
    if (!isNone) await this.#apply();
  }

  /** Unlike `reconcile`, removes also when a put failed: a limit that is refused stays refused, and nothing rests on it. */
  async #apply(): Promise<void> {
    const work = this.#tracked.to(this.#wanted);
    await work.refresh();
    const [put] = await Promise.allSettled([work.put()]);
    await work.remove();
    if (put.status === "rejected") throw put.reason;
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }
}
