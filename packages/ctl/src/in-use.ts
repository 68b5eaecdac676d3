import type { IPPool, ResourceOf } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { parsePools, summarise } from "@margay/ipam";
import type { Reference } from "./delete.ts";
import { label } from "./kinds.ts";

/** Why deleting would break what others rely on, one text per reason. */
export async function inUse(store: Store, target: Reference): Promise<string[]> {
  if (target.kind === "IPPool") return poolInUse(store, target.metadata.name);
  if (target.kind === "Node") return nodeInUse(store, target.metadata.name);
  if (target.kind === "Tier") return tierInUse(store, target.metadata.name);
  return [];
}

async function poolInUse(store: Store, name: string): Promise<string[]> {
  const pool: IPPool | undefined = await resources(store, "IPPool").get(name);
  if (!pool) return [];
  const blocks = await resources(store, "IPAMBlock").list(undefined, () => {});
  const [usage] = summarise(
    parsePools([pool]),
    blocks.map(({ spec }) => spec),
  ).pools;
  if (!usage?.inUse) return [];
  return [
    `ippool/${name}: ${usage.inUse} of its addresses are in use; set spec.disabled: true, delete the pods that have them ` +
      "(margay ipam show --show-blocks), then delete the pool. --force deletes it now and leaves their blocks behind",
  ];
}

/** Deleting a node frees the addresses of its pods. */
async function nodeInUse(store: Store, name: string): Promise<string[]> {
  const endpoints = await resources(store, "WorkloadEndpoint").list(undefined, () => {});
  const here = endpoints.filter(({ spec }) => spec.node === name);
  if (here.length === 0) return [];
  return [
    `node/${name}: ${here.length} pods run on it; drain it first. --force deletes it now and frees their addresses`,
  ];
}

async function tierInUse(store: Store, name: string): Promise<string[]> {
  const policies: ResourceOf<"NetworkPolicy" | "GlobalNetworkPolicy">[] = (
    await Promise.all([
      resources(store, "NetworkPolicy").list(undefined, () => {}),
      resources(store, "GlobalNetworkPolicy").list(undefined, () => {}),
    ])
  ).flat();
  const inside = policies.filter(({ spec }) => spec.tier === name).map(label);
  if (inside.length === 0) return [];
  return [
    `tier/${name}: holds ${inside.length} policies (${inside.slice(0, 5).join(", ")}); delete or move them first, or use --force`,
  ];
}
