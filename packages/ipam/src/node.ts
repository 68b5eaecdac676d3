import type { IPAMConfiguration } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { sameAddress } from "@margay/net";
import { releaseAffinity } from "./affinity.ts";
import { type Garbage, garbage } from "./garbage.ts";
import { Ipam } from "./ipam.ts";
import type { Sequenced } from "./plan.ts";
import { BlockCache } from "./view.ts";

/** Where whoever deletes a node acts: once for the cluster, not on every node. */
export interface Cluster {
  readonly store: Store;
  readonly now: () => Date;
}

/**
 * Frees all that a deleted node had: addresses of its pods and tunnels, its blocks, its affinities. A block in which
 * another node's pod has an address stays, without an owner, until that is freed. Repeating it is harmless. The caller
 * knows that the node will not come back as it was.
 */
export async function deleteNode({ store, now }: Cluster, node: string): Promise<readonly Garbage[]> {
  const ignore = () => {}; // a corrupt block is left alone: `ipam check` shows it
  const blocks = (await resources(store, "IPAMBlock").list(undefined, ignore)).map(({ spec }) => spec);
  const found = garbage(blocks, { goneNodes: new Set([node]) });
  await allocatorOf({ store, now }, node).collect(found);
  const affinities = await resources(store, "BlockAffinity").list(undefined, ignore);
  const view = new BlockCache({ node });
  const owned = new Set([
    ...affinities.filter(({ spec }) => spec.node === node).map(({ spec }) => spec.cidr),
    ...blocks.filter(({ affinity }) => affinity === `host:${node}`).map(({ cidr }) => cidr),
  ]);
  for (const cidr of owned) await releaseAffinity({ store, node, now, view }, cidr);
  return found;
}

/** Frees what was found to be unused, wherever it is; answers what was still as it had been seen, and is free now. */
export async function releaseFound(cluster: Cluster, found: readonly Garbage[]): Promise<readonly Garbage[]> {
  const freed = await allocatorOf(cluster, NOBODY).collect(found);
  const isFreed = (one: Sequenced) =>
    freed.some(({ address, sequence }) => sameAddress(address, one.address) && sequence === one.sequence);
  return found.filter(({ addresses }) => addresses.every(isFreed));
}

/** No node's name: those are DNS labels. */
const NOBODY = "(none)";

/** Releases only: pools and configuration do not matter, an address that is freed for such a reason rests no longer. */
const allocatorOf = ({ store, now }: Cluster, node: string): Ipam =>
  new Ipam({ store, node, now, pools: () => [], config: () => NO_RULES, labels: () => ({}) });

const NO_RULES: IPAMConfiguration["spec"] = {
  ...{ strictAffinity: true, autoAllocateBlocks: false, maxBlocksPerHost: 0, ipCooldownSeconds: 0 },
  ...{ hostReserved: { first: 0, last: 0 }, rackLabel: "" },
  kubeVirtVMAddressPersistence: "Enabled",
};
