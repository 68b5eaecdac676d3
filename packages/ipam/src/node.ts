import { ApiError, type IPAMConfiguration } from "@margay/api";
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
  const config = await rulesOf(store);
  await allocatorOf({ store, now }, { node, config }).collect(found);
  const affinities = await resources(store, "BlockAffinity").list(undefined, ignore);
  const view = new BlockCache({ node });
  const owned = new Set([
    ...affinities.filter(({ spec }) => spec.node === node).map(({ spec }) => spec.cidr),
    ...blocks.filter(({ affinity }) => affinity === `host:${node}`).map(({ cidr }) => cidr),
  ]);
  const { ipCooldownSeconds: cooldownSeconds } = config;
  for (const cidr of owned) await releaseAffinity({ store, node, now, view, cooldownSeconds }, cidr);
  return found;
}

/** Frees what was found to be unused, wherever it is; answers what was still as it had been seen, and is free now. */
export async function releaseFound(cluster: Cluster, found: readonly Garbage[]): Promise<readonly Garbage[]> {
  const config = await rulesOf(cluster.store);
  const freed = await allocatorOf(cluster, { node: NOBODY, config }).collect(found);
  const isFreed = (one: Sequenced) =>
    freed.some(({ address, sequence }) => sameAddress(address, one.address) && sequence === one.sequence);
  return found.filter(({ addresses }) => addresses.every(isFreed));
}

/** No node's name: those are DNS labels. */
const NOBODY = "(none)";

type Rules = IPAMConfiguration["spec"];

/** Releases only: pools do not matter; how long an address rests does, and is in the journal that others go by. */
const allocatorOf = ({ store, now }: Cluster, { node, config }: { node: string; config: Rules }): Ipam =>
  new Ipam({ store, node, now, pools: () => [], config: () => config, labels: () => ({}) });

/** Those that nobody can read hold nothing up: without them nothing would ever be freed. */
async function rulesOf(store: Store): Promise<Rules> {
  try {
    return (await resources(store, "IPAMConfiguration").get("default"))?.spec ?? NO_RULES;
  } catch (error) {
    if (error instanceof ApiError && error.code === "corrupt") return NO_RULES;
    throw error;
  }
}

const NO_RULES: Rules = {
  ...{ strictAffinity: true, autoAllocateBlocks: false, maxBlocksPerHost: 0, ipCooldownSeconds: 0 },
  ...{ hostReserved: { first: 0, last: 0 }, rackLabel: "" },
  kubeVirtVMAddressPersistence: "Enabled",
};
