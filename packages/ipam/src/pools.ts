import { evaluate, type IPPool, parseSelector } from "@margay/api";
import {
  type Address,
  contains,
  type Family,
  formatPrefix,
  overlaps,
  type Prefix,
  parsePrefix,
} from "@margay/net";
import { IpamError } from "./errors.ts";

/** A pool with its text parsed. */
export interface Pool {
  readonly name: string;
  readonly cidr: Prefix;
  readonly blockSize: number;
  readonly spec: IPPool["spec"];
}

/** Parses the pools' CIDRs; schema-checked, so nothing throws. In order of name. */
export const parsePools = (pools: readonly IPPool[]): Pool[] =>
  pools
    .map(({ metadata, spec }) => {
      const cidr = parsePrefix(spec.cidr);
      return { name: metadata.name, cidr, blockSize: spec.blockSize ?? (cidr.family === 4 ? 26 : 122), spec };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));

/** How many blocks the pool divides into. */
export const blocksIn = (pool: Pool): bigint => 1n << BigInt(pool.blockSize - pool.cidr.length);

/**
 * Pools over the same ground whose blocks have another size: they cannot stand beside each other, but two who wrote at one
 * moment may have made them. What both have gives no new block, for blocks of two sizes are two keys, and a node that has not
 * yet seen the other's could give the same address. Whoever sees the later pool sees the earlier one, too.
 */
export const rivalsOf = (pools: readonly Pool[], pool: Pool): Pool[] =>
  pools.filter(
    ({ cidr, blockSize, spec }) =>
      !spec.disabled && blockSize !== pool.blockSize && overlaps(cidr, pool.cidr),
  );

export type Use = IPPool["spec"]["allowedUses"][number];

/** Whom and what pools are chosen for. */
export interface PoolRequest {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Labels of the pod's namespace; undefined when it is no pod's address. */
  readonly namespace?: Readonly<Record<string, string>> | undefined;
  readonly use: Use;
  readonly family: Family;
  /** Names or CIDRs; then selectors and assignmentMode do not count, for somebody asked for these. */
  readonly named?: readonly string[] | undefined;
}

/**
 * The pools that may give this node an address of the family for this use: those named, else every enabled,
 * Automatic one whose selectors match. Throws IpamError `unknown-pool`, `pool-disabled` or `no-pool`.
 */
export function selectPools(pools: readonly Pool[], request: PoolRequest): Pool[] {
  const { node, family, use } = request;
  const chosen = request.named ? byName(pools, request) : pools.filter((pool) => suits(pool, request));
  const found = chosen.filter((pool) => pool.cidr.family === family && isFor(pool, use));
  if (found.length === 0) throw new IpamError({ code: "no-pool", node, family, use });
  return found;
}

function byName(pools: readonly Pool[], { named = [], node }: PoolRequest): Pool[] {
  return named.map((name) => {
    const pool = pools.find((p) => p.name === name || formatPrefix(p.cidr) === name);
    if (!pool) throw new IpamError({ code: "unknown-pool", pool: name, node });
    if (pool.spec.disabled) throw new IpamError({ code: "pool-disabled", pool: pool.name, node });
    return pool;
  });
}

const suits = ({ spec }: Pool, { labels, namespace }: PoolRequest): boolean =>
  !spec.disabled &&
  (spec.assignmentMode ?? "Automatic") === "Automatic" &&
  evaluate(parseSelector(spec.nodeSelector || "all()"), labels) &&
  (!spec.namespaceSelector || evaluate(parseSelector(spec.namespaceSelector), namespace ?? {}));

const isFor = ({ spec }: Pool, use: Use): boolean =>
  spec.allowedUses?.includes(use) ?? use !== "LoadBalancer";

/** Whether a node with these labels may have blocks of the pool at all. */
export const selectsNode = ({ spec }: Pool, labels: Readonly<Record<string, string>>): boolean =>
  evaluate(parseSelector(spec.nodeSelector || "all()"), labels);

/** The enabled pool that holds an address asked for by name, if any. */
export const poolOf = (pools: readonly Pool[], address: Address, use: Use): Pool | undefined =>
  pools.find((pool) => !pool.spec.disabled && isFor(pool, use) && contains(pool.cidr, address));
