import { type AnyResource, decode, type WorkloadEndpoint } from "@margay/api";
import type { Update } from "@margay/calc";
import { alreadyDecoded, type SyncUpdate } from "@margay/datastore";

/**
 * Endpoints of new pods that are on their way to the datastore: their rules are made meanwhile, their routes are not
 * (docs/adr/0015-rules-before-the-answer.md). Whatever the datastore then says of the key counts instead.
 */
export class Expected {
  readonly #endpoints = new Map<string, { readonly value: string; readonly endpoint: WorkloadEndpoint }>();

  /** Files what is being written under a key that the datastore did not have. @returns what calc is to be told */
  put(key: string, value: string): Update | undefined {
    const endpoint: AnyResource = decode(key, value);
    if (endpoint.kind !== "WorkloadEndpoint") return undefined;
    this.#endpoints.set(key, { value, endpoint });
    return { key, value: endpoint };
  }

  /** It will not be written. @returns what calc is to be told; nothing when the datastore has spoken already */
  withdraw(key: string): Update | undefined {
    return this.#endpoints.delete(key) ? { key } : undefined;
  }

  /** Hears what the datastore says. Whether that is no more than what was expected. */
  confirms({ key, entry }: SyncUpdate): boolean {
    const one = this.#endpoints.get(key);
    this.#endpoints.delete(key);
    if (one === undefined || entry?.value !== one.value) return false;
    alreadyDecoded(entry, one.endpoint);
    return true;
  }

  /** The interfaces that must have no route yet. */
  readonly interfaces = (): ReadonlySet<string> =>
    new Set([...this.#endpoints.values()].map(({ endpoint }) => endpoint.spec.interfaceName));
}
