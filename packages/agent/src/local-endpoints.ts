import { parseKey, type WorkloadEndpoint } from "@margay/api";
import type { Update } from "@margay/calc";

/** The endpoints of this node as the datastore has them, for CNI GC and limits. One that cannot be read is not among them. */
export class LocalEndpoints {
  readonly #node: string;
  readonly #all = new Map<string, WorkloadEndpoint>();
  /** Those of them with limits: most have none. */
  readonly #limited = new Map<string, WorkloadEndpoint>();

  constructor(node: string) {
    this.#node = node;
  }

  readonly list = (): readonly WorkloadEndpoint[] => [...this.#all.values()];

  /** Those with `qosControls`. */
  readonly limited = (): readonly WorkloadEndpoint[] => [...this.#limited.values()];

  /** By datastore key; it changes as they do. */
  readonly byKey = (): ReadonlyMap<string, WorkloadEndpoint> => this.#all;

  apply(updates: readonly Update[]): void {
    for (const { key, value } of updates) {
      if (parseKey(key)?.kind !== "WorkloadEndpoint") continue;
      this.#all.delete(key);
      this.#limited.delete(key);
      if (value?.kind !== "WorkloadEndpoint" || value.spec.node !== this.#node) continue;
      this.#all.set(key, value);
      if (value.spec.qosControls) this.#limited.set(key, value);
    }
  }
}
