import {
  type AnyResource,
  ApiError,
  type IPAMConfiguration,
  type IPPool,
  type IPReservation,
  kindPrefix,
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
  readonly #reservations = new Map<string, IPReservation>();
  /** Labels of every node. */
  readonly #nodes = new Map<string, Readonly<Record<string, string>>>();
  /** Labels of every namespace, as its profile hands them on. */
  readonly #namespaces = new Map<string, Readonly<Record<string, string>>>();
  /** Annotations of namespaces that concern the network, as their profiles hand them on. */
  readonly #namespaceAnnotations = new Map<string, Readonly<Record<string, string>>>();
  #racks: ReadonlyMap<string, string> | undefined;
  #ipam: IPAMConfiguration["spec"] = defaultIpam;
  #self: Node | undefined;

  constructor(node: string) {
    this.#node = node;
  }

  readonly pools = (): readonly IPPool[] => [...this.#pools.values()];
  readonly ipam = (): IPAMConfiguration["spec"] => this.#ipam;
  readonly labels = (): Readonly<Record<string, string>> => this.#self?.metadata.labels ?? {};

  readonly reservations = (): readonly IPReservation[] => [...this.#reservations.values()];
  readonly namespaceLabels = (name: string): Readonly<Record<string, string>> =>
    this.#namespaces.get(name) ?? { "projectcalico.org/name": name, "kubernetes.io/metadata.name": name };

  readonly namespaceAnnotations = (name: string): Readonly<Record<string, string>> =>
    this.#namespaceAnnotations.get(name) ?? {};

  /** Every node that has the rack label, to its rack. */
  readonly racks = (): ReadonlyMap<string, string> => {
    this.#racks ??= new Map(
      [...this.#nodes].flatMap(([node, labels]) => {
        const rack = labels[this.#ipam.rackLabel];
        return rack ? [[node, rack] as const] : [];
      }),
    );
    return this.#racks;
  };

  /** This node's own resource. */
  get self(): Node | undefined {
    return this.#self;
  }

  /** The node's status.podCIDRs, of both families. */
  readonly podCidrs = (): readonly string[] => {
    const { podCIDRs } = (this.#self?.status ?? {}) as { podCIDRs?: unknown }; // a status has no schema
    return Array.isArray(podCIDRs) ? podCIDRs.filter((cidr) => typeof cidr === "string") : [];
  };

  apply(updates: readonly Update[]): void {
    for (const { key, value } of updates) {
      const name = parseKey(key);
      if (name) this.#take(name, value);
    }
  }

  #take({ kind, name }: { kind: string; name: string }, value: AnyResource | undefined): void {
    switch (kind) {
      case "IPPool":
        set(this.#pools, name, value?.kind === "IPPool" ? value : undefined);
        break;
      case "IPReservation":
        set(this.#reservations, name, value?.kind === "IPReservation" ? value : undefined);
        break;
      case "Profile":
        this.#setNamespace(name, value);
        break;
      case "IPAMConfiguration":
        if (name === "default") this.#ipam = value?.kind === "IPAMConfiguration" ? value.spec : defaultIpam;
        this.#racks = undefined;
        break;
      case "Node":
        if (name === this.#node) this.#self = value?.kind === "Node" ? value : undefined;
        set(this.#nodes, name, value?.kind === "Node" ? (value.metadata.labels ?? {}) : undefined);
        this.#racks = undefined;
    }
  }

  #setNamespace(profile: string, value: AnyResource | undefined): void {
    if (!profile.startsWith("kns.")) return;
    const labels = value?.kind === "Profile" ? (value.spec.labelsToApply ?? {}) : undefined;
    const own = labels && Object.entries(labels).map(([name, text]) => [name.replace(/^pcns\./, ""), text]);
    const name = profile.slice("kns.".length);
    set(this.#namespaces, name, own && Object.fromEntries(own));
    set(this.#namespaceAnnotations, name, value?.metadata.annotations);
  }
}

/** Undefined removes. */
function set<V>(map: Map<string, V>, name: string, value: V | undefined): void {
  if (value === undefined) map.delete(name);
  else map.set(name, value);
}

const defaultIpam = (
  parse({ apiVersion: "margay.dev/v1", kind: "IPAMConfiguration", metadata: { name: "default" }, spec: {} })
    .resource as IPAMConfiguration
).spec; // just named so

/** Told of each value that cannot be read. */
export type OnCorrupt = (key: string, error: Error) => void;

const BLOCKS = kindPrefix("IPAMBlock");

/**
 * Datastore values as resources. One that cannot be read stands for what it was: closed, not absent; of settings, the fields that can
 * be read hold. Blocks are left out: IPAM's view alone reads them, and they are what is written most.
 */
export function decodeUpdates(updates: readonly SyncUpdate[], onCorrupt: OnCorrupt): Update[] {
  return updates
    .filter(({ key }) => !key.startsWith(BLOCKS) && parseKey(key) !== undefined)
    .map(({ key, entry }) => {
      if (!entry) return { key };
      try {
        return { key, value: resourceOf(entry) };
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        onCorrupt(key, error);
        return { key, corrupt: error.message, ...(error.readable && { value: error.readable }) };
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
