import { setTimeout as sleepFor } from "node:timers/promises";
import { Loop } from "@margay/reconcile";

export interface UptakeOptions {
  /** Makes the engine do what is wanted now. */
  readonly apply: () => void;
  readonly onApplied: () => void;
  readonly onError: (error: Error, retryInMs: number) => void;
}

/** Hands what the datastore says to the engine, and knows what of it the engine does not have yet. */
export class Uptake {
  readonly #loop: Loop;
  /** What was delivered, and what of it was applied: counts of `changed`. */
  #delivered = 0;
  #applied = 0;
  #failure: string | undefined;

  constructor({ apply, onApplied, onError }: UptakeOptions) {
    this.#loop = new Loop({
      pass: async () => {
        const goal = this.#delivered;
        apply();
        this.#applied = goal;
        this.#failure = undefined;
        onApplied();
      },
      sleep: (ms, signal) => sleepFor(ms, undefined, { signal }).catch(() => {}), // aborted: the loop stops
      onError: (error, retryInMs) => {
        const fault = error instanceof Error ? error : new Error(String(error));
        this.#failure = fault.message;
        onError(fault, retryInMs);
      },
    });
  }

  changed(): void {
    this.#delivered++;
    this.#loop.trigger();
  }

  /** Why not everything delivered has reached the engine; undefined when it has. */
  get behind(): string | undefined {
    if (this.#applied === this.#delivered) return undefined;
    return this.#failure ?? "what the datastore says is being taken up";
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }
}
