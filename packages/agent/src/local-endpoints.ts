import { parseKey, type WorkloadEndpoint } from "@margay/api";
import type { Update } from "@margay/calc";

/** The endpoints of this node as the datastore has them, for CNI GC. One that cannot be read is not among them. */
export class LocalEndpoints {
  readonly #node: string;
  readonly #all = new Map<string, WorkloadEndpoint>();

  constructor(node: string) {
    this.#node = node;
  }

  readonly list = (): readonly WorkloadEndpoint[] => [...this.#all.values()];

  /** By datastore key; it changes as they do. */
  readonly byKey = (): ReadonlyMap<string, WorkloadEndpoint> => this.#all;

  apply(updates: readonly Update[]): void {
    for (const { key, value } of updates) {
      if (parseKey(key)?.kind !== "WorkloadEndpoint") continue;
      if (value?.kind === "WorkloadEndpoint" && value.spec.node === this.#node) this.#all.set(key, value);
      else this.#all.delete(key);
    }
  }
}
