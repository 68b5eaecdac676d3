import { resources, type Store } from "@margay/datastore";
import { BlockCache, parsePools, releaseAffinity, summarise } from "@margay/ipam";

/**
 * Deletes a pool, then gives back its empty blocks: nobody claims a new one then. A block with addresses in use keeps its owner, so that
 * the pods that have them stay reachable. Resolves to whether there was such a pool.
 */
export async function deletePool(store: Store, name: string): Promise<boolean> {
  const pool = await resources(store, "IPPool").get(name);
  if (!pool || !(await resources(store, "IPPool").delete(name))) return false;
  const blocks = await resources(store, "IPAMBlock").list(undefined, () => {});
  const [usage] = summarise(
    parsePools([pool]),
    blocks.map(({ spec }) => spec),
  ).pools;
  const site = { store, now: () => new Date(), cooldownSeconds: 0 }; // nobody gives of them again
  for (const { cidr, node, inUse } of usage?.blocks ?? [])
    if (node !== undefined && inUse === 0)
      await releaseAffinity({ ...site, node, view: new BlockCache({ node }) }, cidr);
  return true;
}
