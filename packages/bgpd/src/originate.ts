/** What a node announces as its own, and what may leave it at all (pure), calico.md §5.4. */
import type { BlockAffinity, IPPool, WorkloadEndpoint } from "@margay/api";
import { contains, formatPrefix, type Prefix, parsePrefix, samePrefix } from "@margay/net";

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
}

/** The node's blocks and borrowed addresses that lie in exported pools. */
export function originsOf({ node, affinities, endpoints, pools }: OriginInputs): Origins {
  const exported = exportedPools(pools);
  const blocks = confirmedBlocks(affinities)
    .filter((b) => b.node === node && isExported(exported, b.cidr))
    .map((b) => b.cidr);
  const borrowed = endpoints
    .filter(({ spec }) => spec.node === node)
    .flatMap(networksOf)
    .filter((host) => isExported(exported, host) && !blocks.some((block) => contains(block, host)));
  return { blocks, borrowed };
}

const kept = new WeakMap<WorkloadEndpoint, readonly Prefix[]>();

/** Parsed once for each endpoint: all of a node's are gone through whenever one of them changes. */
function networksOf(endpoint: WorkloadEndpoint): readonly Prefix[] {
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
