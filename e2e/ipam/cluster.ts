import { setTimeout as delay } from "node:timers/promises";
import {
  type AnyResource,
  type IPAMConfiguration,
  type IPPool,
  type IPReservation,
  parse,
  ROOT,
} from "@margay/api";
import { resourceOf, type Store, Syncer } from "@margay/datastore";
import { BlockCache, type Surroundings } from "@margay/ipam";

/** A resource of the kind, defaults filled in. */
export const resource = <R extends AnyResource>(kind: R["kind"], name: string, spec: object): R =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource as R; // of the kind asked for

/** Scarce: eight nodes of up to 24 pods each share 128 addresses of each family. */
export const POOLS: readonly IPPool[] = [
  resource<IPPool>("IPPool", "four-a", { cidr: "10.0.0.0/26", blockSize: 29 }),
  resource<IPPool>("IPPool", "four-b", { cidr: "10.0.1.0/26", blockSize: 29 }),
  resource<IPPool>("IPPool", "six", { cidr: "fd00::/121", blockSize: 125 }),
];

export const NODES = Array.from({ length: 8 }, (_, i) => `n${i}`);

/** The last two have no label. */
export const RACKS: ReadonlyMap<string, string> = new Map(
  NODES.slice(0, 6).map((node, i) => [node, `rack-${i % 2}`]),
);

/** What each handle has, by its own word: written with its addresses, gone before they are. */
export const ENDPOINTS = "/soak/endpoints/";

/** What a node's agent knows by its one watch. */
export interface Followed extends Pick<Surroundings, "pools" | "config" | "reservations"> {
  readonly blocks: BlockCache;
  stop(): Promise<void>;
}

/** Follows the datastore as an agent does. Resolves when all has been read once. */
export async function follow(store: Store, node: string): Promise<Followed> {
  const kept = new Map<string, AnyResource>();
  const ofKind = <R extends AnyResource>(kind: R["kind"]) =>
    [...kept.values()].filter((one) => one.kind === kind) as R[]; // of that kind
  const { promise: inSync, resolve: synced } = Promise.withResolvers<void>();
  const syncer = new Syncer({
    ...{ store, prefix: ROOT },
    sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined), // aborted: no matter
    onBatch: ({ updates, inSync }) => {
      blocks.apply(updates);
      for (const { key, entry } of updates) {
        if (!entry) kept.delete(key);
        else if (/ippools|ipreservations|ipamconfigurations/.test(key)) kept.set(key, resourceOf(entry));
      }
      if (inSync) synced();
    },
  });
  const blocks = new BlockCache({ node, observe: (...entries) => syncer.observe(...entries) });
  void syncer.start();
  await inSync;
  const defaults = resource<IPAMConfiguration>("IPAMConfiguration", "default", {});
  return {
    blocks,
    pools: () => ofKind<IPPool>("IPPool"),
    reservations: () => ofKind<IPReservation>("IPReservation"),
    config: () => (ofKind<IPAMConfiguration>("IPAMConfiguration")[0] ?? defaults).spec,
    stop: () => syncer.stop(),
  };
}
