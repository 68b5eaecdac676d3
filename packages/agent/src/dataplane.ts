import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { findById, type NodeState } from "@margay/calc";
import { Loop, type Outcome } from "@margay/reconcile";
import type { Kernel } from "./kernel.ts";

/** A pass that succeeded. */
export interface Pass {
  /** As it is enforced. */
  readonly state: NodeState;
  readonly outcomes: readonly Outcome[];
  readonly milliseconds: number;
}

export interface DataplaneOptions {
  readonly kernel: Pick<Kernel, "apply" | "enforced" | "missing" | "refused">;
  /** A pass begins: the state that it enforces is asked for next. */
  readonly onPass?: () => void;
  /** The desired state as of now. */
  readonly state: () => NodeState;
  readonly onApplied: (pass: Pass) => void;
  readonly onError: (error: unknown, retryInMs: number) => void;
}

/** How long a barrier's question waits for the pass under way before the answer is "not yet". */
const SETTLE_MS = 1000;

/** The one loop that makes the kernel match, and what may be asked of it. Starts with the first `changed`. */
export class Dataplane {
  readonly #options: DataplaneOptions;
  readonly #loop: Loop;
  /** What was delivered, and what of it the kernel has: counts of `changed`. */
  #wanted = 0;
  #applied = 0;
  #endpoints: NodeState["endpoints"] = [];
  #error: Error | undefined;
  #startedAt: number | undefined;
  /** Called after each pass, whether it succeeded or not. */
  readonly #waiting = new Set<() => void>();

  constructor(options: DataplaneOptions) {
    this.#options = options;
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined), // early is fine
      onError: (error, retryInMs) => this.#failed(error, retryInMs),
    });
  }

  /** New desired state. */
  changed(): void {
    this.#wanted++;
    this.#loop.trigger();
  }

  /** The kernel may differ; before the first `changed` nothing is known to compare it with. */
  check(): void {
    if (this.#wanted > 0) this.#loop.trigger();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Since when a pass has been running, in ms; 0 when none is. */
  runningFor(): number {
    return this.#startedAt === undefined ? 0 : performance.now() - this.#startedAt;
  }

  /** Whether a pass has ever succeeded. */
  get hasApplied(): boolean {
    return this.#applied > 0;
  }

  /** Why not everything delivered is in the kernel; undefined when it is. Waits up to a second for that. */
  async pending(): Promise<string | undefined> {
    const goal = this.#wanted;
    const why = () => this.#whyBehind(goal);
    await this.#until(() => why() === undefined, SETTLE_MS);
    return why();
  }

  /** Resolves once all that is delivered so far is in the kernel, and after `timeoutMs` at the latest. */
  caughtUp(timeoutMs: number): Promise<void> {
    const goal = this.#wanted;
    return this.#until(() => this.#applied >= goal, timeoutMs);
  }

  /** Resolves once a local endpoint's rules and routes are in the kernel; after `timeoutMs` it throws what is missing. */
  async ready(id: string, timeoutMs: number): Promise<void> {
    const why = () => this.#whyNotReady(id);
    await this.#until(() => why() === undefined, timeoutMs);
    const missing = why();
    if (missing !== undefined) throw new Error(`${id} is not in force after ${timeoutMs} ms: ${missing}`);
  }

  #whyBehind(goal: number): string | undefined {
    if (goal === 0) return "the datastore has not been read yet";
    if (this.#applied < goal) return this.#error?.message ?? "still writing to the kernel";
    return [...this.#options.kernel.refused.values()][0]?.message;
  }

  #whyNotReady(id: string): string | undefined {
    const { endpoints, config } = this.#options.state();
    const wanted = findById(endpoints, id);
    if (!wanted) return "the agent has not seen its WorkloadEndpoint";
    if (findById(this.#endpoints, id) !== wanted)
      return this.#error?.message ?? "still writing to the kernel";
    return this.#options.kernel.missing(wanted, config);
  }

  async #pass(): Promise<void> {
    await setImmediate(); // notifications that came along with the trigger, of the new interface say, are part of it
    const goal = this.#wanted;
    this.#startedAt = performance.now();
    try {
      this.#options.onPass?.();
      const state = this.#options.state();
      const outcomes = await this.#options.kernel.apply(state);
      this.#endpoints = state.endpoints;
      this.#applied = goal;
      this.#error = undefined;
      this.#wake();
      await setImmediate(); // who waits is answered first
      const milliseconds = performance.now() - this.#startedAt;
      this.#options.onApplied({ state: this.#options.kernel.enforced(state), outcomes, milliseconds });
    } finally {
      this.#startedAt = undefined;
      this.#wake();
    }
  }

  #failed(error: unknown, retryInMs: number): void {
    this.#error = error instanceof Error ? error : new Error(String(error));
    this.#options.onError(error, retryInMs);
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves when `done` or the time is over; asks after each pass. */
  async #until(done: () => boolean, timeoutMs: number): Promise<void> {
    if (done()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    const wake = () => {
      if (done()) resolve();
    };
    this.#waiting.add(wake);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(wake);
  }
}
