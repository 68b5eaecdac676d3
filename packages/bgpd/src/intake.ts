/** The resources that bgpd reads, and what follows from them. */
import {
  type AnyResource,
  ApiError,
  type BGPSettings,
  decode,
  effective,
  type Kind,
  keyOf,
  kindPrefix,
  type Node,
  parseKey,
  type ResourceOf,
  type WorkloadEndpoint,
} from "@margay/api";
import { FloatingTable, floatingClaim, podCidrsOf } from "@margay/calc";
import type { SyncUpdate } from "@margay/datastore";
import { contains, formatPrefix, type Prefix } from "@margay/net";
import { EndpointTable, ordinaryNetworks } from "./endpoint-table.ts";
import type { Wanted } from "./engine.ts";
import {
  confirmedBlocks,
  exportedPools,
  isExported,
  type OriginInputs,
  type Origins,
  originated,
  originsOf,
} from "./originate.ts";
import type { PeerInputs } from "./peer-session.ts";
import { listenRanges, selfOf, wantedPeers } from "./peers.ts";
import { leftToAgent } from "./reached.ts";
import type { ReadSecret } from "./secrets.ts";
import { type ServiceRoutes, serviceRoutes } from "./services.ts";

const kinds = [
  "Node",
  "IPPool",
  "BGPConfiguration",
  "BGPPeer",
  "BGPFilter",
  "BlockAffinity",
  "WorkloadEndpoint",
  "FelixConfiguration",
  "Service",
  "EndpointSlice",
] as const;
type Read = (typeof kinds)[number];
type Tables = Record<Exclude<Read, "WorkloadEndpoint">, Map<string, AnyResource>>;

/** A block of another node that we should know a route to. */
export interface RemoteBlock {
  readonly cidr: Prefix;
  readonly node: string;
}

export interface IntakeOptions {
  readonly node: string;
  readonly onCorrupt: (key: string, error: ApiError) => void;
  /** Values of Secrets that resources refer to. */
  readonly secret: ReadSecret;
}

export class Intake {
  readonly #node: string;
  readonly #onCorrupt: (key: string, error: ApiError) => void;
  readonly #resources: Tables;
  readonly #endpoints = new EndpointTable((key, value) => this.#decode(key, value));
  readonly #secret: ReadSecret;
  #origins: Origins = { blocks: [], borrowed: [] };
  /** The node's own blocks among these, as they were last asked for. */
  #announced: readonly Prefix[] = [];
  #leftToAgent: ReadonlySet<string> = new Set();

  constructor({ node, onCorrupt, secret }: IntakeOptions) {
    this.#node = node;
    this.#onCorrupt = onCorrupt;
    this.#secret = secret;
    this.#resources = Object.fromEntries(kinds.map((kind) => [kind, new Map()])) as unknown as Tables; // one of each
  }

  /** Takes in a batch; whether what is wanted may be another now. */
  apply(updates: readonly SyncUpdate[]): boolean {
    let changed = false;
    for (const { key, entry } of updates) {
      const kind = kinds.find((k) => key.startsWith(kindPrefix(k)));
      if (!kind || !parseKey(key)) continue;
      const value = entry && this.#isOurs(kind, entry.value) ? entry.value : undefined;
      const isOther =
        kind === "WorkloadEndpoint" ? this.#setEndpoint(key, value) : this.#set(kind, key, value);
      changed ||= isOther;
    }
    return changed;
  }

  /** Undefined removes. Whether there was or is one. */
  #set(kind: keyof Tables, key: string, value: string | undefined): boolean {
    const table = this.#resources[kind];
    const resource = value === undefined ? undefined : this.#decode(key, value);
    if (resource === undefined) return table.delete(key);
    table.set(key, resource);
    return true;
  }

  /** Whether it makes, or made, a difference. */
  #setEndpoint(key: string, value: string | undefined): boolean {
    return this.#endpoints.set(key, value).some((one) => !this.#changesNothing(one));
  }

  /** An ordinary pod of ours: its addresses lie in blocks that are announced, with it or without. Most of what is written is of these. */
  #changesNothing(value: string): boolean {
    const networks = ordinaryNetworks(value);
    if (!networks) return false;
    if (this.#all("BGPPeer").some(({ spec }) => spec.localWorkloadSelector !== undefined)) return false;
    return networks.every((network) => this.#announced.some((block) => contains(block, network)));
  }

  /** What the engine should do. The same origins, and the same blocks left to the agent, stay the same object. */
  wanted(): Wanted {
    const inputs = this.#inputs();
    const pools = this.#all("IPPool");
    const services = this.#services();
    const { open, closed } = exportedPools(pools);
    const exported = { open: [...open, ...services.ranges], closed };
    const affinities = this.#all("BlockAffinity");
    const endpoints = this.#endpoints.all();
    this.#announced = confirmedBlocks(affinities)
      .filter(({ node, cidr }) => node === this.#node && isExported(exported, cidr))
      .map(({ cidr }) => cidr);
    const origins = {
      ...originsOf({ node: this.#node, affinities, endpoints, pools, ...this.#attachment(endpoints) }),
      ...{ services: services.announced, serviceRanges: services.ranges },
    };
    if (textOf(origins) !== textOf(this.#origins)) this.#origins = origins;
    const left = this.#leftToAgentNow();
    if ([...left].join() !== [...this.#leftToAgent].join()) this.#leftToAgent = left; // both sorted by prefix
    const exportKey = [exported.open, exported.closed]
      .map((l) => l.map(formatPrefix).sort().join())
      .join(" ");
    return {
      self: selfOf(inputs),
      peers: wantedPeers(inputs),
      ranges: listenRanges(inputs),
      origins: this.#origins,
      leftToAgent: this.#leftToAgent,
      isExported: (prefix) => isExported(exported, prefix),
      exportKey,
    };
  }

  /** Ranges and floating addresses of pods here, besides what IPAM gave. */
  #attachment(endpoints: readonly WorkloadEndpoint[]): Pick<OriginInputs, "podCidrs" | "floating"> {
    const podCidrs = podCidrsOf(this.#resources.Node.get(keyOf("Node", this.#node)) as Node | undefined); // the table's kind
    const felix = effective("FelixConfiguration", this.#all("FelixConfiguration"), this.#node);
    if (felix.floatingIPs === "Disabled") return { podCidrs };
    const floating = new FloatingTable();
    for (const endpoint of endpoints) {
      const claim = floatingClaim(endpoint);
      if (claim) floating.set(claim.id, claim);
    }
    return { podCidrs, floating };
  }

  #services(): ServiceRoutes {
    const self = this.#resources.Node.get(keyOf("Node", this.#node));
    return serviceRoutes({
      ...{ node: this.#node, labels: self?.metadata.labels ?? {}, settings: this.#settings() },
      ...{ services: this.#all("Service"), slices: this.#all("EndpointSlice") },
    });
  }

  /** Blocks of other nodes that those nodes announce, and whose routes we write. */
  remoteBlocks(): RemoteBlock[] {
    const exported = exportedPools(this.#all("IPPool"));
    return confirmedBlocks(this.#all("BlockAffinity")).filter(
      ({ node, cidr }) =>
        node !== this.#node && isExported(exported, cidr) && !this.#leftToAgent.has(formatPrefix(cidr)),
    );
  }

  #leftToAgentNow(): ReadonlySet<string> {
    return leftToAgent({
      ...{ node: this.#node, configurations: this.#all("FelixConfiguration"), nodes: this.#all("Node") },
      ...{ affinities: this.#all("BlockAffinity"), pools: this.#all("IPPool") },
    });
  }

  #inputs(): PeerInputs {
    const nodes = this.#all("Node");
    return {
      self: this.#node,
      nodes,
      peers: this.#all("BGPPeer"),
      endpoints: this.#endpoints.all(),
      filters: this.#all("BGPFilter"),
      settings: this.#settings(),
      secret: this.#secret,
    };
  }

  #settings(): BGPSettings {
    return effective("BGPConfiguration", this.#all("BGPConfiguration"), this.#node);
  }

  /**
   * Endpoints of other nodes are most of the datastore and none of our business: they are not even parsed, unless they ask for
   * floating addresses, which one of ours may ask for, too.
   */
  #isOurs(kind: Read, value: string): boolean {
    if (kind !== "WorkloadEndpoint" && kind !== "EndpointSlice") return true;
    return value.includes(JSON.stringify(this.#node)) || value.includes('"ipNATs"');
  }

  #decode(key: string, value: string): AnyResource | undefined {
    try {
      return decode(key, value);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#onCorrupt(key, error);
      return error.readable;
    }
  }

  #all<K extends keyof Tables & Kind>(kind: K): ResourceOf<K>[] {
    return [...this.#resources[kind].values()] as unknown as ResourceOf<K>[]; // the table's key is the kind
  }
}

const textOf = (origins: Origins): string =>
  [originated(origins).keys(), (origins.serviceRanges ?? []).map(formatPrefix)]
    .map((texts) => [...texts].sort().join())
    .join(" ");
