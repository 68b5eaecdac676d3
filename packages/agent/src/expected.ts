import { type AnyResource, decode, type WorkloadEndpoint } from "@margay/api";
import type { Update } from "@margay/calc";
import { alreadyDecoded, type SyncUpdate } from "@margay/datastore";

/**
 * Endpoints of new pods that are on their way to the datastore: their rules are made meanwhile, their routes are not
 * (docs/adr/0015-rules-before-the-answer.md). Whatever the datastore then says of the key counts instead.
 */
export class Expected {
  readonly #endpoints = new Map<string, { readonly value: string; readonly endpoint: WorkloadEndpoint }>();
  /** Interfaces of what came to nothing: a pass under way may have it still. */
  readonly #former = new Set<string>();

  /** Files what is being written under a key that the datastore did not have. @returns what calc is to be told */
  put(key: string, value: string): Update | undefined {
    const endpoint: AnyResource = decode(key, value);
    if (endpoint.kind !== "WorkloadEndpoint") return undefined;
    this.#end(key);
    this.#endpoints.set(key, { value, endpoint });
    return { key, value: endpoint };
  }

  /** It will not be written. @returns what calc is to be told; nothing when the datastore has spoken already */
  withdraw(key: string): Update | undefined {
    return this.#end(key) ? { key } : undefined;
  }

  /** Hears what the datastore says. Whether that is no more than what was expected. */
  confirms({ key, entry }: SyncUpdate): boolean {
    const one = this.#endpoints.get(key);
    if (one === undefined || entry?.value !== one.value) {
      this.#end(key);
      return false;
    }
    this.#endpoints.delete(key);
    alreadyDecoded(entry, one.endpoint);
    return true;
  }

  /** Whose interface that will be. */
  idOf(interfaceName: string): string | undefined {
    for (const one of this.#endpoints.values())
      if (interfaceOf(one) === interfaceName) return workloadId(one.endpoint);
    return undefined;
  }

  /** What a pass enforces is of now: what was expected and came to nothing is not in it. */
  passBegins(): void {
    this.#former.clear();
  }

  /** The interfaces that must have no route in this pass. */
  readonly interfaces = (): ReadonlySet<string> =>
    new Set([...this.#former, ...[...this.#endpoints.values()].map(interfaceOf)]);

  /** Nobody will confirm it any more. @returns whether it was expected */
  #end(key: string): boolean {
    const one = this.#endpoints.get(key);
    if (one) this.#former.add(interfaceOf(one));
    return this.#endpoints.delete(key);
  }
}

const interfaceOf = ({ endpoint }: { readonly endpoint: WorkloadEndpoint }): string =>
  endpoint.spec.interfaceName;

/** calc's name of it. */
const workloadId = ({ metadata: { namespace, name } }: WorkloadEndpoint): string => `${namespace}/${name}`;
