import { type Store, StoreError } from "@margay/datastore";
import type { Site } from "./affinity.ts";
import { IpamError } from "./errors.ts";
import type { IpamEvent } from "./events.ts";
import { AFFINITIES, BLOCKS, BlockCache, type BlockView } from "./view.ts";
import type { Surroundings } from "./world.ts";

export interface IpamOptions extends Surroundings {
  readonly store: Store;
  /** The watched cache; without one every batch begins with a list of all blocks. */
  readonly blocks?: BlockView;
  /** Told after the datastore has it: for logs and metrics. Must not throw. */
  readonly onEvent?: (event: IpamEvent) => void;
}

/** Where a batch reads and writes. Without a watched cache its view is a list of this moment. */
export async function siteOf({ store, node, now, blocks, config }: IpamOptions): Promise<Site> {
  const { ipCooldownSeconds: cooldownSeconds } = config();
  return { store, node, now, cooldownSeconds, view: blocks ?? (await listed(store, node)) };
}

/** A view of one moment, for who has no watch. */
async function listed(store: Store, node: string): Promise<BlockView> {
  const cache = new BlockCache({ node });
  for (const prefix of [AFFINITIES, BLOCKS])
    cache.apply((await store.list(prefix)).entries.map((entry) => ({ key: entry.key, entry })));
  return cache;
}

/** What the store could not do may work later; anything else is a fault of the program and keeps its own name. */
export function failureOf(node: string, error: unknown): Error {
  if (error instanceof StoreError)
    return new IpamError({ code: "datastore", node, reason: error.message }, error);
  return error instanceof Error ? error : new Error("ipam: not an Error was thrown", { cause: error });
}
