import { contains, overlaps, prefixSize } from "@margay/net";
import { readBlock, releaseAffinity, type Site } from "./affinity.ts";
import { affinityOf, type Block, isEmpty, nodeOf } from "./block.ts";
import { type Pool, rivalsOf } from "./pools.ts";
import { BlockCache, type BlockSummary } from "./view.ts";

/** So long a claimed block may be empty: its node may be about to use it (calico.md §2.3, 5). Longer if its addresses rest. */
const LEAST_AGE_SECONDS = 60;

interface Wanted {
  readonly node: string;
  /** Those that are to have room again. */
  readonly pools: readonly Pool[];
  readonly all: readonly Pool[];
}

/** Whether a block is another node's and empty, and a new one may be made in its place: not where a rival pool is, too. */
export const isToBeHad = ({ prefix, affinity, free }: BlockSummary, { node, pools, all }: Wanted): boolean =>
  affinity !== undefined &&
  affinity !== affinityOf(node) &&
  BigInt(free) === prefixSize(prefix) &&
  pools.some(
    (pool) =>
      contains(pool.cidr, prefix) && !rivalsOf(all, pool).some((rival) => overlaps(rival.cidr, prefix)),
  );

/**
 * Gives back, for its node, a block of these pools that has been another's for a minute and is empty: where borrowing is
 * not allowed, a node in need has no other way. Answers its CIDR, or undefined when there is none. The other node finds
 * its block gone as after its own giving back; an address it assigned in that very moment stays with its pod.
 */
export async function takeEmpty(site: Site, wanted: Omit<Wanted, "node">): Promise<string | undefined> {
  const candidates = [...site.view.summaries().values()].filter((one) =>
    isToBeHad(one, { ...wanted, node: site.node }),
  );
  for (const { cidr } of candidates) {
    const block = await readBlock(site, cidr);
    if (!block || block === "corrupt" || !isOld(block.spec, site)) continue;
    const { affinity } = block.spec;
    const node = affinity && nodeOf(affinity);
    if (!node || !isEmpty(block.spec)) continue;
    await releaseAffinity({ ...site, node, view: new BlockCache({ node }) }, cidr);
    await readBlock(site, cidr); // our own view learns that it is gone
    return cidr;
  }
  return undefined;
}

/** Claimed, and last used, at least a minute ago, and its addresses have rested. */
function isOld({ affinityClaimTime, released = [] }: Block, { now, cooldownSeconds }: Site): boolean {
  const times = [affinityClaimTime, ...released.map(({ at }) => at)].map((text) => Date.parse(text));
  const seconds = Math.max(LEAST_AGE_SECONDS, cooldownSeconds);
  return times.every((time) => now().getTime() - time >= seconds * 1000);
}
