import type { Kind, ResourceOf } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { type Block, type Pool, parsePools } from "@margay/ipam";
import { type Address, formatAddress, NetError, parseAddress, parsePrefix } from "@margay/net";
import { CtlError } from "./error.ts";
import type { Terminal } from "./terminal.ts";

/** All of a kind; what is corrupt is told and left out. */
export const list = <K extends Kind>(store: Store, kind: K, terminal: Terminal): Promise<ResourceOf<K>[]> =>
  resources(store, kind).list(undefined, (error) => terminal.warn(`skipped: ${error.message}`));

export async function poolsAndBlocks(store: Store, terminal: Terminal): Promise<[Pool[], Block[]]> {
  const [pools, blocks] = await Promise.all([
    list(store, "IPPool", terminal),
    list(store, "IPAMBlock", terminal),
  ]);
  return [parsePools(pools), blocks.map(({ spec }) => spec)];
}

/** Every address that an endpoint has, to the endpoints that have it. */
export async function endpointsByAddress(store: Store, terminal: Terminal): Promise<Map<string, string[]>> {
  const byAddress = new Map<string, string[]>();
  for (const { metadata, spec } of await list(store, "WorkloadEndpoint", terminal))
    for (const network of spec.ipNetworks) {
      const address = formatAddress(parsePrefix(network));
      const names = byAddress.get(address) ?? [];
      byAddress.set(address, [...names, `${metadata.namespace}/${metadata.name}`]);
    }
  return byAddress;
}

/** Throws CtlError `usage`. */
export function addressOf(text: string, flag = "--ip"): Address {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof NetError) throw new CtlError("usage", `${flag} ${error.message}`, error);
    throw error;
  }
}

/** "name:  value" lines; facts without a value are left out. */
export const facts = (of: Readonly<Record<string, string | undefined>>): string =>
  Object.entries(of)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${`${name}:`.padEnd(11)}${value}`)
    .join("\n");

/** How many addresses a pool has, or an empty one has free, a power of two: as a number, unless that is too long for a column. */
export const sizeOf = (total: bigint): string =>
  total > 2n ** 32n ? `2^${total.toString(2).length - 1}` : `${total}`;
