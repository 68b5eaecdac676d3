import { deleteEndpoint } from "./del.ts";
import { delegate, delegated } from "./delegate.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { aliasOf, type Owner, ownerOfEndpoint, ownerOfHandle } from "./owner.ts";
import { DONE } from "./result.ts";

/**
 * CNI GC: removes what this network has on this node for attachments that the runtime no longer names, in the order
 * of DEL: endpoints, interfaces, addresses. Other networks' things and those of no CNI call stay. Throws CniError, and
 * has then removed no address whose interface may still be there.
 */
export async function gc(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const isGone = goneFrom(invocation);
  try {
    await Promise.all(
      [...deps.localEndpoints().values()]
        .filter((endpoint) => isGone(ownerOfEndpoint(endpoint)))
        .map(({ metadata: { name: endpoint, namespace = "" } }) =>
          deleteEndpoint(deps, { endpoint, namespace }, (found) => isGone(ownerOfEndpoint(found))),
        ),
    );
    const interfaces = (await deps.owned()).filter(({ owner }) => isGone(owner));
    await Promise.all(interfaces.map(({ hostInterface }) => deps.unwire(hostInterface)));
    await releaseGone(deps, invocation.conf.name, isGone);
    const type = delegated(invocation);
    if (type) await delegate(invocation, { type, command: "GC", podCidrs: deps.podCidrs() });
    return DONE;
  } catch (error) {
    throw cniError(error);
  }
}

/** CNI GC as margay-ipam: addresses only. Throws CniError. */
export async function gcIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  try {
    await releaseGone(deps, invocation.conf.name, goneFrom(invocation));
    return DONE;
  } catch (error) {
    throw cniError(error);
  }
}

type IsGone = (owner: Owner | undefined) => boolean;

/** A missing list is not an empty one: everything would go. */
function goneFrom({ conf }: Invocation): IsGone {
  const valid = conf["cni.dev/valid-attachments"];
  if (!valid)
    throw new CniError("invalid-configuration", "network configuration: cni.dev/valid-attachments: missing");
  const network = conf.name;
  const kept = new Set(
    valid.map(({ containerID, ifname }) => aliasOf({ network, containerId: containerID, ifname })),
  );
  return (owner) => owner !== undefined && owner.network === network && !kept.has(aliasOf(owner));
}

async function releaseGone({ ipam, held }: CniDeps, network: string, isGone: IsGone): Promise<void> {
  const gone = [...held()].filter(({ handle, containerId }) =>
    isGone(ownerOfHandle(handle, { network, containerId })),
  );
  const handles = new Set(gone.map(({ handle }) => handle));
  await Promise.all([...handles].map((handle) => ipam.release({ handle, reason: "container-gone" })));
}
