import { ApiError, keyOf, type ReleaseReason, type WorkloadEndpoint } from "@margay/api";
import { StoreError } from "@margay/datastore";
import { addressSource, podIn } from "./addresses.ts";
import type { CniDeps } from "./deps.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { sameOwner } from "./owner.ts";
import type { Pod } from "./pod.ts";
import { DONE } from "./result.ts";

/** How often the endpoint is read and deleted again when somebody else writes it meanwhile. */
const MAX_TRIES = 5;

/** CNI DEL. Throws CniError. */
export async function del(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  try {
    await remove(deps, invocation, "cni-del");
    return DONE;
  } catch (error) {
    throw cniError(error);
  }
}

/**
 * Removes what this container has, in the reverse order of ADD; what is gone already is success. The endpoint and the
 * interface stay when a newer container of the same pod has them. The address goes last, and only when all else is gone:
 * nobody gets it while a route still leads here.
 */
export async function remove(deps: CniDeps, invocation: Invocation, reason: ReleaseReason): Promise<void> {
  const pod = podIn(deps, invocation);
  const { netns, ifname, containerId } = invocation;
  const [endpoint] = await Promise.allSettled([
    deleteEndpoint(deps, pod, (found) => belongs(found, containerId)),
  ]);
  const found = endpoint.status === "fulfilled" ? endpoint.value : undefined;
  const hostInterface = found?.spec.interfaceName ?? pod.hostInterface;
  if (await isOurs(deps, { ...pod, hostInterface }, found !== undefined)) await deps.unwire(hostInterface);
  if (netns) await deps.unwireInside({ netns, ifname });
  if (endpoint.status === "rejected") throw endpoint.reason;
  await addressSource(deps, invocation, pod).release(reason);
}

/** The endpoint of that name that was deleted, if there was one that is to go, even if others write it meanwhile. */
export async function deleteEndpoint(
  deps: Pick<CniDeps, "endpoints" | "localEndpoints">,
  { endpoint, namespace }: Pick<Pod, "endpoint" | "namespace">,
  isToGo: (found: WorkloadEndpoint) => boolean,
): Promise<WorkloadEndpoint | undefined> {
  for (let tries = 1; ; tries++) {
    const found =
      (tries === 1 ? endpointAsSeen(deps, { endpoint, namespace }) : undefined) ??
      (await readable(deps.endpoints.get(endpoint, namespace)));
    if (!found || !isToGo(found)) return undefined;
    try {
      await deps.endpoints.delete(endpoint, namespace, found.metadata.resourceVersion);
      return found;
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "conflict" || tries === MAX_TRIES) throw error;
    }
  }
}

/** One that cannot be read names no container: it is left to `margay delete`, and holds nothing else up. */
async function readable<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof ApiError && error.code === "corrupt") return undefined;
    throw error;
  }
}

/** Spares a reading: what is deleted must be at the revision that was seen. */
export const endpointAsSeen = (
  { localEndpoints }: Pick<CniDeps, "localEndpoints">,
  { endpoint, namespace }: Pick<Pod, "endpoint" | "namespace">,
): WorkloadEndpoint | undefined => localEndpoints().get(keyOf("WorkloadEndpoint", endpoint, namespace));

/** Where the container's interface is on the node: as its endpoint says, else by its name. */
export function hostInterfaceOf(deps: Pick<CniDeps, "localEndpoints">, pod: Pod): string {
  const found = endpointAsSeen(deps, pod);
  return found?.spec.containerID === pod.owner.containerId ? found.spec.interfaceName : pod.hostInterface;
}

/** The interface says whose it is; one that does not goes with its endpoint. */
async function isOurs({ ownerOf }: CniDeps, pod: Pod, wasThere: boolean): Promise<boolean> {
  const owner = await ownerOf(pod.hostInterface);
  return owner ? sameOwner(owner, pod.owner) : wasThere;
}

/** An endpoint that names no container is whoever's asks. */
const belongs = ({ spec }: WorkloadEndpoint, containerId: string): boolean =>
  spec.containerID === undefined || spec.containerID === containerId;
