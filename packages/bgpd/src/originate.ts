/** What a node announces as its own, and what may leave it at all (pure), calico.md §5.4. */
import type { BlockAffinity, IPPool, WorkloadEndpoint } from "@margay/api";
import { type FloatingTable, usedPodCidrs } from "@margay/calc";
import {
  contains,
  formatPrefix,
  hostPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
  samePrefix,
} from "@margay/net";

export interface Origins {
  /** The node's confirmed blocks. */
  readonly blocks: readonly Prefix[];
  /** Addresses of pods here that lie in no block of ours. */
  readonly borrowed: readonly Prefix[];
  /** Addresses of services. */
  readonly services?: readonly Prefix[];
  /** Ranges of service addresses: no route of theirs goes into the kernel. */
  readonly serviceRanges?: readonly Prefix[];
}

export interface OriginInputs {
  readonly node: string;
  readonly affinities: readonly BlockAffinity[];
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly pools: readonly IPPool[];
  /** What Kubernetes gave the node: announced whole where pods' addresses come from it (`usePodCidr`). */
  readonly podCidrs?: readonly Prefix[];
  /** Who has which floating address; absent: they are switched off. */
  readonly floating?: FloatingTable;
}

/** The node's blocks, and borrowed and floating addresses, that lie in exported pools. */
export function originsOf({ node, affinities, endpoints, pools, ...more }: OriginInputs): Origins {
  const exported = exportedPools(pools);
  const all = confirmedBlocks(affinities);
  const own = all.filter((b) => b.node === node).map(({ cidr }) => cidr);
  const local = endpoints.filter(({ spec }) => spec.node === node);
  const hosts = local.flatMap(networksOf);
  const free = (more.podCidrs ?? []).filter((range) => !all.some(({ cidr }) => overlaps(cidr, range)));
  const blocks = [...own, ...usedPodCidrs(free, own, hosts)].filter((block) => isExported(exported, block));
  const floating = local.flatMap((endpoint) => floatingOf(endpoint, more.floating));
  const claiming = affinities.filter(({ spec }) => spec.node === node && spec.state === "pending");
  const known = [...blocks, ...claiming.map(({ spec }) => parsePrefix(spec.cidr))]; // those will be announced whole in a moment
  const borrowed = [...hosts, ...floating].filter(
    (host) => isExported(exported, host) && !known.some((block) => contains(block, host)),
  );
  return { blocks, borrowed };
}

function floatingOf({ metadata, spec }: WorkloadEndpoint, table: FloatingTable | undefined): Prefix[] {
  if (!spec.ipNATs || !table) return [];
  const { floating = [] } = table.of(`${metadata.namespace}/${metadata.name}`);
  return floating.map(({ external }) => hostPrefix(external));
}

const kept = new WeakMap<WorkloadEndpoint, readonly Prefix[]>();

/** Parsed once for each endpoint: all of a node's are gone through whenever one of them changes. */
export function networksOf(endpoint: WorkloadEndpoint): readonly Prefix[] {
  const networks = kept.get(endpoint) ?? endpoint.spec.ipNetworks.map((text) => parsePrefix(text));
  kept.set(endpoint, networks);
  return networks;
}

/** Only a confirmed affinity means that the block is the node's; a lone address as block needs no confirmation. */
export function confirmedBlocks(affinities: readonly BlockAffinity[]): { cidr: Prefix; node: string }[] {
  return affinities
    .map(({ spec }) => ({ ...spec, cidr: parsePrefix(spec.cidr) }))
    .filter(({ state, cidr }) => state === "confirmed" || cidr.length === (cidr.family === 4 ? 32 : 128));
}

/** Pool ranges by whether they are announced. */
export interface ExportedPools {
  readonly open: readonly Prefix[];
  readonly closed: readonly Prefix[];
}

export const exportedPools = (pools: readonly IPPool[]): ExportedPools => ({
  open: pools.filter((p) => !p.spec.disableBGPExport).map((p) => parsePrefix(p.spec.cidr)),
  closed: pools.filter((p) => p.spec.disableBGPExport).map((p) => parsePrefix(p.spec.cidr)),
});

/** Only routes inside a pool leave a node, and not those of a pool with `disableBGPExport`. */
export const isExported = ({ open, closed }: ExportedPools, prefix: Prefix): boolean =>
  open.some((pool) => contains(pool, prefix)) && !closed.some((pool) => contains(pool, prefix));

/** All of it, by text. */
export const originated = ({ blocks, borrowed, services = [] }: Origins): Map<string, Prefix> =>
  new Map([...blocks, ...borrowed, ...services].map((p) => [formatPrefix(p), p]));

/** Whether the prefix is exactly one of the node's blocks: the agent's blackhole holds its place. */
export const isOwnBlock = ({ blocks }: Origins, prefix: Prefix): boolean =>
  blocks.some((b) => samePrefix(b, prefix));

/** Whether kube-proxy, and no route, sees to packets for the prefix. */
export const isService = ({ serviceRanges = [] }: Origins, prefix: Prefix): boolean =>
  serviceRanges.some((range) => contains(range, prefix));
