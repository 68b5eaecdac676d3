import { statSync } from "node:fs";
import { keyOf, type WorkloadEndpoint } from "@margay/api";
import { type Store, StoreError } from "@margay/datastore";
import { type Block, type Evidence, type Ipam, namespaceId } from "@margay/ipam";
import { formatAddress, parsePrefix } from "@margay/net";
import { listLinks, type Netlink } from "@margay/netlink";

export interface LeftBehind {
  /** Endpoints whose interface is gone, and so the pod's network with it. */
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly evidence: Evidence;
}

/** What of the node is still there. */
export interface StillThere {
  /** Names. */
  readonly interfaces: ReadonlySet<string>;
  /** Network namespaces that are gone, as `namespaceId` names them. */
  readonly goneNamespaces: ReadonlySet<string>;
}

/**
 * What pods that vanished while the agent was away left in the datastore (pure). A veth dies with the pod's namespace: an
 * endpoint without its interface is proof. If not one interface is there, the node was started anew, and the runtime will
 * say what is gone; or these are not the node's interfaces at all: then nothing is concluded from those. Pods of other plugins
 * have no endpoint: theirs is the namespace.
 */
export function leftBehind(
  endpoints: readonly WorkloadEndpoint[],
  { interfaces, goneNamespaces }: StillThere,
): LeftBehind | undefined {
  const without = endpoints.filter(({ spec }) => !interfaces.has(spec.interfaceName));
  const gone = without.length === endpoints.length ? [] : without;
  if (gone.length === 0 && goneNamespaces.size === 0) return undefined;
  const living = endpoints.filter((one) => !gone.includes(one));
  const containers = containersIn(gone).flatMap(([address, id]): [string, string][] =>
    id ? [[address, id]] : [],
  );
  return {
    endpoints: gone,
    evidence: {
      goneInterfaces: new Map(containers),
      goneNamespaces,
      endpoints: new Map(containersIn(living)),
    },
  };
}

/** Each address of these, to the container that has it. */
const containersIn = (endpoints: readonly WorkloadEndpoint[]) =>
  endpoints.flatMap(({ spec: { containerID, ipNetworks } }) =>
    ipNetworks.map((network): [string, string | undefined] => [
      formatAddress(parsePrefix(network)),
      containerID,
    ]),
  );

/**
 * The namespaces of this node's addresses that are there no more: their path names nothing, or another. If not one is there, the
 * paths are not to be seen from here, or the node was started anew: nothing is concluded.
 */
export function goneNamespaces(
  blocks: readonly Block[],
  { node, inodeOf }: { node: string; inodeOf: (path: string) => string | undefined },
): ReadonlySet<string> {
  const all = blocks
    .flatMap(({ allocations }) => Object.values(allocations).map(({ attributes }) => attributes))
    .filter((of) => of.node === node && namespaceId(of) !== undefined);
  const gone = all.filter(({ netns = "", netnsInode }) => inodeOf(netns) !== netnsInode);
  if (gone.length === all.length) return new Set();
  return new Set(gone.flatMap((of) => namespaceId(of) ?? []));
}

/** Removes it: endpoints first, so that no address is given again while an endpoint says it is its own. */
export async function removeLeftBehind(
  { store, ipam }: { store: Store; ipam: Ipam },
  { endpoints, evidence }: LeftBehind,
): Promise<void> {
  for (const { metadata } of endpoints) await deleteEndpoint(store, metadata);
  await ipam.collect(await ipam.garbage(evidence));
}

/** Where pods of a node have left something. */
interface Seen {
  readonly node: string;
  readonly netlink: Netlink;
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly blocks: readonly Block[];
}

/** Removes what pods that vanished left behind. @returns the endpoints' names; undefined if nothing was left. Throws StoreError, NetlinkError */
export async function removeVanished(
  from: { store: Store; ipam: Ipam },
  { node, netlink, endpoints, blocks }: Seen,
): Promise<readonly string[] | undefined> {
  const interfaces = new Set((await listLinks(netlink)).map(({ name }) => name));
  const inodeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.ino.toString();
  const found = leftBehind(endpoints, {
    interfaces,
    goneNamespaces: goneNamespaces(blocks, { node, inodeOf }),
  });
  if (found) await removeLeftBehind(from, found);
  return found?.endpoints.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
}

async function deleteEndpoint(
  store: Store,
  { name, namespace, resourceVersion }: WorkloadEndpoint["metadata"],
) {
  try {
    await store.delete(keyOf("WorkloadEndpoint", name, namespace), Number(resourceVersion));
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "conflict") throw error; // written since: somebody has it
  }
}
