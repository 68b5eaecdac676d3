import { contains, prefixSize } from "@margay/net";
import { readBlock, releaseAffinity, type Site } from "./affinity.ts";
import { affinityOf, type Block, isEmpty, nodeOf } from "./block.ts";
import type { Pool } from "./pools.ts";
import { BlockCache } from "./view.ts";

/** So long a claimed block may be empty: its node may be about to use it (calico.md §2.3, 5). */
const LEAST_AGE_MS = 60_000;

/**
 * Gives back, for its node, a block of these pools that has been another's for a minute and is empty: where borrowing is
 * not allowed, a node in need has no other way. Answers its CIDR, or undefined when there is none. The other node finds
 * its block gone as after its own giving back; an address it assigned in that very moment stays with its pod.
 */
export async function takeEmpty(site: Site, pools: readonly Pool[]): Promise<string | undefined> {
  const own = affinityOf(site.node);
  const candidates = [...site.view.summaries().values()].filter(
    ({ prefix, affinity, free }) =>
      affinity !== undefined &&
      affinity !== own &&
      BigInt(free) === prefixSize(prefix) &&
      pools.some(({ cidr }) => contains(cidr, prefix)),
  );
  for (const { cidr } of candidates) {
    const block = await readBlock(site, cidr);
    if (!block || block === "corrupt" || !isOld(block.spec, site.now())) continue;
    const { affinity } = block.spec;
    const node = affinity && nodeOf(affinity);
    if (!node || !isEmpty(block.spec)) continue;
    await releaseAffinity({ ...site, node, view: new BlockCache({ node }) }, cidr);
    await readBlock(site, cidr); // our own view learns that it is gone
    return cidr;
  }
  return undefined;
}

/** Claimed, and last used, at least a minute ago. */
function isOld({ affinityClaimTime, released = [] }: Block, now: Date): boolean {
  const times = [affinityClaimTime, ...released.map(({ at }) => at)].map((text) => Date.parse(text));
  return times.every((time) => now.getTime() - time >= LEAST_AGE_MS);
}
