import { evaluate, type IPPool, parseSelector } from "@margay/api";
import {
  type Address,
  contains,
  type Family,
  formatPrefix,
  type Prefix,
  parsePrefix,
  prefixSize,
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

/** Whom and what pools are chosen for. */
export interface PoolRequest {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly family: Family;
  /** Names or CIDRs; then nodeSelector and assignmentMode do not count, for somebody asked for these. */
  readonly named?: readonly string[] | undefined;
}

/**
 * The pools that may give this node's pods an address of the family: those named, else every enabled,
 * Automatic one whose nodeSelector matches. Throws IpamError `unknown-pool`, `pool-disabled` or `no-pool`.
 */
export function selectPools(pools: readonly Pool[], request: PoolRequest): Pool[] {
  const { node, family } = request;
  const chosen = request.named ? byName(pools, request) : pools.filter((pool) => suits(pool, request));
  const found = chosen.filter((pool) => pool.cidr.family === family && forWorkloads(pool));
  if (found.length === 0) throw new IpamError({ code: "no-pool", node, family });
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

const suits = ({ spec }: Pool, { labels }: PoolRequest): boolean =>
  !spec.disabled &&
  (spec.assignmentMode ?? "Automatic") === "Automatic" &&
  evaluate(parseSelector(spec.nodeSelector || "all()"), labels);

const forWorkloads = ({ spec }: Pool): boolean => spec.allowedUses?.includes("Workload") ?? true;

/** The enabled pool that holds an address asked for by name, if any. */
export const poolOf = (pools: readonly Pool[], address: Address): Pool | undefined =>
  pools.find((pool) => !pool.spec.disabled && forWorkloads(pool) && contains(pool.cidr, address));

/**
 * The pool's blocks, lazily, once round from a place that the seed (the node's name) decides: two nodes
 * rarely try the same.
 */
export function* candidates(pool: Pool, seed: string): Generator<Prefix> {
  const count = blocksIn(pool);
  const start = fnv1a64(seed) % count;
  const size = prefixSize({ ...pool.cidr, length: pool.blockSize });
  for (let i = 0n; i < count; i++)
    yield {
      family: pool.cidr.family,
      bits: pool.cidr.bits + ((start + i) % count) * size,
      length: pool.blockSize,
    };
}

/** FNV-1a, 64 bits, with a final mix: names that differ in the last digit land far apart. */
function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const char of text)
    hash = BigInt.asUintN(64, (hash ^ BigInt(char.codePointAt(0) ?? 0)) * 0x100000001b3n);
  hash = BigInt.asUintN(64, (hash ^ (hash >> 33n)) * 0xff51afd7ed558ccdn);
  return hash ^ (hash >> 33n);
}

/** A text to order or pick by, that differs between nodes. */
export const spread = (seed: string, count: number): number => Number(fnv1a64(seed) % BigInt(count));
