import type { BlockAffinity } from "@margay/api";
import {
  comparePrefix,
  contains,
  type Family,
  formatPrefix,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "@margay/net";
import { addressesOf, type InUse } from "./audit.ts";
import { affinityOf, type Block, blockSize, nodeOf } from "./block.ts";
import type { Pool } from "./pools.ts";

/** What `ipam check` finds: one of the invariants broken, with the facts. */
export type Problem =
  | { readonly code: "pools-overlap"; readonly pool: string; readonly other: string }
  | { readonly code: "blocks-overlap"; readonly cidr: string; readonly other: string }
  | { readonly code: "block-outside-pools"; readonly cidr: string; readonly inUse: number }
  | { readonly code: "block-of-other-size"; readonly cidr: string; readonly pool: string }
  | { readonly code: "block-inconsistent"; readonly cidr: string; readonly why: string }
  | {
      readonly code: "affinity-unsettled";
      readonly cidr: string;
      readonly node: string;
      readonly state: string;
    }
  | { readonly code: "affinity-without-block"; readonly cidr: string; readonly node: string }
  | { readonly code: "block-without-affinity"; readonly cidr: string; readonly node: string }
  | { readonly code: "node-gone"; readonly node: string; readonly blocks: number; readonly addresses: number }
  | ({ readonly code: "leaked" } & InUse)
  | { readonly code: "held-twice"; readonly handle: string; readonly addresses: readonly string[] }
  | {
      readonly code: "unallocated-in-use";
      readonly address: string;
      readonly endpoint: string;
      /** It is from this range of a node's, where no block of ours is: another plugin gives from it (`usePodCidr`). */
      readonly podCidr?: string;
      readonly pool: string;
    }
  | { readonly code: "used-twice"; readonly address: string; readonly endpoints: readonly string[] };

export interface AuditInput {
  readonly pools: readonly Pool[];
  readonly blocks: readonly Block[];
  readonly affinities: readonly BlockAffinity["spec"][];
  /** Nodes that exist. */
  readonly nodes: ReadonlySet<string>;
  /** Addresses that workload endpoints have now, to the endpoints' names. */
  readonly endpoints: ReadonlyMap<string, readonly string[]>;
  /** Ranges of the nodes, from which other plugins may give addresses. */
  readonly podCidrs: readonly Prefix[];
}

/** Every invariant of pools, blocks, affinities, nodes and endpoints; what the daemons are mending now included. */
export function audit(input: AuditInput): Problem[] {
  const { pools, blocks, affinities } = input;
  return [
    ...poolOverlaps(pools),
    ...blockOverlaps(blocks),
    ...blocks.flatMap((block) => placeProblems(block, pools)),
    ...blocks.flatMap(innerProblems),
    ...affinities.flatMap((affinity) => affinityProblem(affinity, blocks)),
    ...blocks.flatMap((block) => ownerProblem(block, affinities)),
    ...goneNodes(input),
    ...leaks(input),
    ...heldTwice(blocks),
    ...endpointProblems(input),
  ];
}

const poolOverlaps = (pools: readonly Pool[]): Problem[] =>
  pools.flatMap((pool, i) =>
    pools
      .slice(i + 1)
      .filter((other) => overlaps(pool.cidr, other.cidr))
      .map((other) => ({ code: "pools-overlap", pool: pool.name, other: other.name })),
  );

/** In order of address only neighbours can overlap. */
function blockOverlaps(blocks: readonly Block[]): Problem[] {
  const sorted = blocks.map(({ cidr }) => parsePrefix(cidr)).sort(comparePrefix);
  return sorted.flatMap((prefix, i) => {
    const next = sorted[i + 1];
    if (!next || !overlaps(prefix, next)) return [];
    return [{ code: "blocks-overlap", cidr: formatPrefix(prefix), other: formatPrefix(next) } as const];
  });
}

function placeProblems({ cidr, allocations }: Block, pools: readonly Pool[]): Problem[] {
  const prefix = parsePrefix(cidr);
  const pool = pools.find((one) => contains(one.cidr, prefix));
  if (!pool) return [{ code: "block-outside-pools", cidr, inUse: Object.keys(allocations).length }];
  return pool.blockSize === prefix.length ? [] : [{ code: "block-of-other-size", cidr, pool: pool.name }];
}

/** What one write cannot have made. */
function innerProblems(block: Block): Problem[] {
  const [size, { cidr, allocations, unallocated, sequenceNumber }] = [blockSize(block), block];
  const ordinals = Object.keys(allocations).map(Number);
  const faults = [
    [...ordinals, ...unallocated].some((n) => n >= size) && "an ordinal is beyond its end",
    new Set(unallocated).size < unallocated.length && "an ordinal is free twice",
    unallocated.some((n) => allocations[n]) && "an ordinal is free and in use",
    Object.values(allocations).some(({ sequence }) => sequence > sequenceNumber) &&
      "an allocation is newer than the block",
  ];
  return faults.filter((why) => why !== false).map((why) => ({ code: "block-inconsistent", cidr, why }));
}

function affinityProblem({ cidr, node, state }: BlockAffinity["spec"], blocks: readonly Block[]): Problem[] {
  if (state !== "confirmed") return [{ code: "affinity-unsettled", cidr, node, state }];
  const agrees = blocks.some((block) => block.cidr === cidr && block.affinity === affinityOf(node));
  return agrees ? [] : [{ code: "affinity-without-block", cidr, node }];
}

function ownerProblem({ affinity, cidr }: Block, affinities: readonly BlockAffinity["spec"][]): Problem[] {
  const node = affinity && nodeOf(affinity);
  if (!node || affinities.some((one) => one.cidr === cidr && one.node === node)) return [];
  return [{ code: "block-without-affinity", cidr, node }];
}

function goneNodes({ blocks, nodes }: AuditInput): Problem[] {
  const owners = blocks.flatMap(({ affinity }) => (affinity && nodeOf(affinity)) || []);
  const users = blocks.flatMap(addressesOf).flatMap(({ attributes }) => attributes.node ?? []);
  const gone = [...new Set([...owners, ...users])].filter((node) => !nodes.has(node));
  const count = (list: readonly string[], node: string) => list.filter((one) => one === node).length;
  return gone
    .sort()
    .map((node) => ({ code: "node-gone", node, blocks: count(owners, node), addresses: count(users, node) }));
}

/** Addresses of pods that no endpoint has. What is not a pod's (a tunnel's, say) has no endpoint, nor have other plugins' pods. */
function leaks({ blocks, nodes, endpoints }: AuditInput): Problem[] {
  const isNodeHere = ({ attributes: { node } }: InUse) => node === undefined || nodes.has(node);
  const hasEndpoint = ({ attributes: { type, plugin } }: InUse) => !type && !plugin;
  return blocks
    .flatMap(addressesOf)
    .filter((one) => hasEndpoint(one) && isNodeHere(one) && !endpoints.has(one.address))
    .map((leak) => ({ code: "leaked", ...leak }));
}

function heldTwice(blocks: readonly Block[]): Problem[] {
  const family = (address: string): Family => parseAddress(address).family;
  const byOwner = Map.groupBy(blocks.flatMap(addressesOf), (one) => `${family(one.address)} ${one.handle}`);
  return [...byOwner.values()].flatMap((held) => {
    const [first, second] = held;
    if (!first || !second) return [];
    return [
      { code: "held-twice", handle: first.handle, addresses: held.map(({ address }) => address) } as const,
    ];
  });
}

function endpointProblems(input: AuditInput): Problem[] {
  const allocated = new Set(input.blocks.flatMap(addressesOf).map(({ address }) => address));
  return [...input.endpoints].flatMap(([address, names]): Problem[] => {
    const [endpoint = ""] = names;
    return [
      ...(names.length > 1 ? [{ code: "used-twice", address, endpoints: names } as const] : []),
      ...(allocated.has(address) ? [] : unallocated(input, { address, endpoint })),
    ];
  });
}

/**
 * Outside of all pools it is somebody else's, and in a node's own range too while the pool gives nothing out. What a block of
 * ours holds is ours, whatever the node's range: kubeadm's --pod-network-cidr gives ranges that nobody uses.
 */
function unallocated(
  { pools, blocks, podCidrs }: AuditInput,
  use: { address: string; endpoint: string },
): Problem[] {
  const address = parseAddress(use.address);
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  const isOurs = blocks.some(({ cidr }) => contains(parsePrefix(cidr), address));
  const range = isOurs ? undefined : podCidrs.find((one) => contains(one, address));
  if (!pool || (range && pool.spec.disabled)) return [];
  const podCidr = range && { podCidr: formatPrefix(range) };
  return [{ code: "unallocated-in-use", ...use, ...podCidr, pool: pool.name }];
}
