import {
  type AnyResource,
  ApiError,
  type IPAMConfiguration,
  type IPPool,
  type Node,
  parse,
  parseKey,
} from "@margay/api";
import type { Calc, Update } from "@margay/calc";
import { resourceOf, type SyncUpdate } from "@margay/datastore";
import { NetError } from "@margay/net";

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

/** Told of each value that cannot be read. */
export type OnCorrupt = (key: string, error: Error) => void;

/** Datastore values as resources. One that cannot be read stands for what it was: closed, not absent. */
export function decodeUpdates(updates: readonly SyncUpdate[], onCorrupt: OnCorrupt): Update[] {
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

/** Files updates one by one, so that an address which the schema let through closes its own resource and no other. */
export function fileInto(calc: Pick<Calc, "apply">, updates: readonly Update[], onCorrupt: OnCorrupt): void {
  for (const update of updates) {
    try {
      calc.apply([update]);
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      onCorrupt(update.key, error);
      calc.apply([{ key: update.key, corrupt: error.message }]);
    }
  }
}
