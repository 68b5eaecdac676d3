import type { IPPool } from "@margay/api";
import { parsePools, rivalsOf } from "@margay/ipam";
import { type Address, contains, overlaps, type Prefix, prefixOf } from "@margay/net";

/** A pool for load balancers. */
export interface Range {
  readonly name: string;
  readonly cidr: Prefix;
  readonly gives: boolean;
  readonly automatic: boolean;
  /** What pools with blocks of another size have, too, in whole blocks: gives no new one (`rivalsOf`). */
  readonly contested: readonly Prefix[];
  /** Blocks there all the same. */
  readonly open: readonly Prefix[];
}

/** The pools for load balancers, in order of name; `blocks`: load balancers' that are there. */
export function rangesOf(pools: readonly IPPool[], blocks: readonly Prefix[]): Range[] {
  const all = parsePools(pools);
  const ours = all.filter(({ spec }) => spec.allowedUses.includes("LoadBalancer"));
  return ours.map((pool) => {
    const { name, cidr, blockSize, spec } = pool;
    const contested = rivalsOf(all, pool).map((rival) =>
      prefixOf(rival.cidr, Math.min(rival.cidr.length, blockSize)),
    );
    const open = blocks.filter((one) => contains(cidr, one) && contested.some((two) => overlaps(one, two)));
    const automatic = spec.assignmentMode === "Automatic";
    return { name, cidr, gives: !spec.disabled, automatic, contested, open };
  });
}

/** Whether an address may be given that nobody has. */
export const isGivenBy = ({ cidr, contested, open }: Range, address: Address): boolean =>
  open.some((one) => contains(one, address)) ||
  (contains(cidr, address) && !contested.some((one) => contains(one, address)));
