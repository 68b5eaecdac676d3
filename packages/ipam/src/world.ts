import type { IPAMConfiguration, IPPool, IPReservation } from "@margay/api";
import { type Address, type Family, type Prefix, parsePrefix } from "@margay/net";
import type { Attributes } from "./block.ts";
import type { Claimant } from "./claim-order.ts";
import type { Reads } from "./draft.ts";
import { type Pool, parsePools, type Use } from "./pools.ts";
import type { BlockView } from "./view.ts";

export interface AssignRequest {
  /** Names the owner: one pod sandbox. The same handle always gets the same addresses. */
  readonly handle: string;
  /** One address each; all or none. */
  readonly families: readonly Family[];
  readonly attributes: Attributes;
  /** What for; default: "Workload". */
  readonly use?: Use;
  /** Pool names or CIDRs by family; default, for a family without: every pool that suits the node and the pod's namespace. */
  readonly pools?: Readonly<Partial<Record<Family, readonly string[]>>>;
  /** These very addresses, at most one per family. */
  readonly addresses?: readonly Address[];
}

/** All that a plan depends on. */
export interface World {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly now: Date;
  readonly pools: readonly Pool[];
  readonly limits: {
    readonly strictAffinity: boolean;
    readonly autoAllocateBlocks: boolean;
    readonly maxBlocksPerHost: number;
    readonly cooldownSeconds: number;
  };
  /** Labels of a namespace, for pools with a namespaceSelector. */
  readonly namespaceLabels: (namespace: string) => Readonly<Record<string, string>>;
  /** Never given unasked. */
  readonly reserved: readonly Prefix[];
  /** How many at each end of every block are the host's. */
  readonly hostReserved: { readonly first: number; readonly last: number };
  readonly racks: Claimant["racks"];
  readonly view: BlockView;
  readonly reads: Reads;
}

/** What the world is made of; each is asked anew for every plan, so that a change takes effect at once. */
export interface Surroundings {
  readonly node: string;
  readonly now: () => Date;
  readonly pools: () => readonly IPPool[];
  readonly config: () => IPAMConfiguration["spec"];
  /** This node's labels, for IPPool.nodeSelector. */
  readonly labels: () => Readonly<Record<string, string>>;
  readonly reservations?: () => readonly IPReservation[];
  /** Every node that has the rack label, to its rack. */
  readonly racks?: () => ReadonlyMap<string, string>;
  /** Labels of a namespace; default: its name alone. */
  readonly namespaceLabels?: (namespace: string) => Readonly<Record<string, string>>;
}

/** The world as it is now. */
export function worldOf(around: Surroundings, view: BlockView, reads: Reads): World {
  const { strictAffinity, autoAllocateBlocks, maxBlocksPerHost, ipCooldownSeconds, hostReserved } =
    around.config();
  return {
    ...{ node: around.node, labels: around.labels(), now: around.now(), view, reads },
    pools: parsePools(around.pools()),
    limits: {
      ...{ strictAffinity, autoAllocateBlocks, maxBlocksPerHost },
      cooldownSeconds: ipCooldownSeconds,
    },
    namespaceLabels: around.namespaceLabels ?? named,
    reserved: (around.reservations?.() ?? []).flatMap(({ spec }) =>
      spec.reservedCIDRs.map((text) => parsePrefix(text)),
    ),
    hostReserved: hostReserved ?? { first: 0, last: 0 },
    racks: around.racks?.() ?? new Map(),
  };
}

/** What every namespace has for a label. */
const named = (namespace: string) => ({
  "projectcalico.org/name": namespace,
  "kubernetes.io/metadata.name": namespace,
});
