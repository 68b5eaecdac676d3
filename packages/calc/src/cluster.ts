import { type AnyResource, effective, type FelixSettings, type Kind, type ResourceOf } from "@margay/api";
import { comparePrefix, type Prefix } from "@margay/net";
import type { Host, Pool } from "./model.ts";
import { compareText } from "./order.ts";
import { podCidrsOf } from "./pod-cidrs.ts";
import { ownBlock, readHost, readPool, serviceRanges } from "./resources.ts";

const KINDS = [
  "IPPool",
  "BlockAffinity",
  "Node",
  "FelixConfiguration",
  "BGPConfiguration",
] as const satisfies Kind[];

type ClusterKind = (typeof KINDS)[number];

/** Whether a kind is among those that are few, and read whole whenever one of them changed. */
export const isClusterKind = (kind: Kind): kind is ClusterKind => KINDS.some((known) => known === kind);

/** What a node takes over from pools, affinities, nodes and configuration. */
export interface ClusterFacts {
  readonly pools: readonly Pool[];
  readonly blocks: readonly Prefix[];
  /** What Kubernetes gave the node, and only some IPAM plugins heed. */
  readonly podCidrs: readonly Prefix[];
  readonly hosts: readonly Host[];
  readonly services: readonly Prefix[];
  readonly config: FelixSettings;
}

/** Pools, affinities, nodes and configuration. */
export class Cluster {
  readonly #node: string;
  readonly #resources = new Map<ClusterKind, Map<string, AnyResource>>(
    KINDS.map((kind) => [kind, new Map()]),
  );
  #config: ClusterFacts["config"] | undefined;
  #facts: ClusterFacts | undefined;

  constructor(node: string) {
    this.#node = node;
  }

  /** Undefined: there is no such resource. Affinities of other nodes change nothing here and are not kept. */
  set(kind: ClusterKind, name: string, value: AnyResource | undefined): void {
    const known = this.#resources.get(kind);
    const isForeign = value?.kind === "BlockAffinity" && value.spec.node !== this.#node;
    if (value && !isForeign) known?.set(name, value);
    else if (!known?.delete(name)) return;
    this.#facts = undefined;
  }

  /** The same object until something changes. */
  facts(): ClusterFacts {
    this.#facts ??= {
      pools: this.#all("IPPool").map(readPool),
      blocks: this.#all("BlockAffinity")
        .map(({ spec }) => ownBlock(spec, this.#node))
        .filter((block) => block !== undefined)
        .sort(comparePrefix),
      podCidrs: podCidrsOf(this.#all("Node").find(({ metadata }) => metadata.name === this.#node)),
      hosts: this.#all("Node").map(readHost),
      services: serviceRanges(effective("BGPConfiguration", this.#all("BGPConfiguration"), this.#node)),
      config: this.#settings(),
    };
    return this.#facts;
  }

  /** The same object while they say the same: all that is rendered by it stays. */
  #settings(): ClusterFacts["config"] {
    const now = effective("FelixConfiguration", this.#all("FelixConfiguration"), this.#node);
    if (!this.#config || JSON.stringify(now) !== JSON.stringify(this.#config)) this.#config = now;
    return this.#config;
  }

  /** By name. */
  #all<K extends ClusterKind>(kind: K): ResourceOf<K>[] {
    const all = [...(this.#resources.get(kind)?.values() ?? [])] as ResourceOf<K>[]; // set() files each under its kind
    return all.sort((a, b) => compareText(a.metadata.name, b.metadata.name));
  }
}
