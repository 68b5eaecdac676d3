import { keyOf, type WorkloadEndpoint } from "@margay/api";
import { type Store, StoreError } from "@margay/datastore";
import type { Evidence, Ipam } from "@margay/ipam";
import { formatAddress, parsePrefix } from "@margay/net";

export interface LeftBehind {
  /** Endpoints whose interface is gone, and so the pod's network with it. */
  readonly endpoints: readonly WorkloadEndpoint[];
  readonly evidence: Evidence;
}

/**
 * What pods that vanished while the agent was away left in the datastore (pure). A veth dies with the pod's namespace: an
 * endpoint without its interface is proof. If not one interface is there, the node was started anew, and the runtime will
 * say what is gone; or these are not the node's interfaces at all: then nothing is concluded.
 */
export function leftBehind(
  endpoints: readonly WorkloadEndpoint[],
  interfaces: ReadonlySet<string>,
): LeftBehind | undefined {
  const gone = endpoints.filter(({ spec }) => !interfaces.has(spec.interfaceName));
  if (gone.length === 0 || gone.length === endpoints.length) return undefined;
  const addresses = gone.flatMap(({ spec: { containerID, ipNetworks } }) =>
    ipNetworks.flatMap((network): [string, string][] =>
      containerID === undefined ? [] : [[formatAddress(parsePrefix(network)), containerID]],
    ),
  );
  return { endpoints: gone, evidence: { goneInterfaces: new Map(addresses) } };
}

/** Removes it: endpoints first, so that no address is given again while an endpoint says it is its own. */
export async function removeLeftBehind(
  { store, ipam }: { store: Store; ipam: Ipam },
  { endpoints, evidence }: LeftBehind,
): Promise<void> {
  for (const { metadata } of endpoints) await deleteEndpoint(store, metadata);
  await ipam.collect(await ipam.garbage(evidence));
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
