import {
  type AnyResource,
  ApiError,
  type IPAMConfiguration,
  type IPPool,
  type Node,
  parse,
  parseKey,
} from "@margay/api";
import type { Update } from "@margay/calc";
import { resourceOf, type SyncUpdate } from "@margay/datastore";

/** What the agent itself, besides calc, reads of the cluster. */
export class Inventory {
  readonly #node: string;
  readonly #pools = new Map<string, IPPool>();
  #ipam: IPAMConfiguration["spec"] = defaultIpam;
  #self: Node | undefined;

  constructor(node: string) {
    this.#node = node;
  }

  readonly pools = (): readonly IPPool[] => [...this.#pools.values()];
  readonly ipam = (): IPAMConfiguration["spec"] => this.#ipam;
  readonly labels = (): Readonly<Record<string, string>> => this.#self?.metadata.labels ?? {};

  /** This node's own resource. */
  get self(): Node | undefined {
    return this.#self;
  }

  apply(updates: readonly Update[]): void {
    for (const { key, value } of updates) {
      const name = parseKey(key);
      if (name?.kind === "IPPool") this.#setPool(name.name, value);
      else if (name?.kind === "IPAMConfiguration" && name.name === "default")
        this.#ipam = value?.kind === "IPAMConfiguration" ? value.spec : defaultIpam;
      else if (name?.kind === "Node" && name.name === this.#node)
        this.#self = value?.kind === "Node" ? value : undefined;
    }
  }

  #setPool(name: string, value: AnyResource | undefined): void {
    if (value?.kind === "IPPool") this.#pools.set(name, value);
    else this.#pools.delete(name);
  }
}

const defaultIpam = (
  parse({ apiVersion: "margay.dev/v1", kind: "IPAMConfiguration", metadata: { name: "default" }, spec: {} })
    .resource as IPAMConfiguration
).spec; // just named so

/** Datastore values as resources. One that cannot be read is told, and stands for what it was: closed, not absent. */
export function decodeUpdates(
  updates: readonly SyncUpdate[],
  onCorrupt: (key: string, error: ApiError) => void,
): Update[] {
  return updates
    .filter(({ key }) => parseKey(key) !== undefined)
    .map(({ key, entry }) => {
      if (!entry) return { key };
      try {
        return { key, value: resourceOf(entry) };
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        onCorrupt(key, error);
        return { key, corrupt: error.message };
      }
    });
}
