import type { ReleaseReason } from "@margay/api";
import { type Address, formatAddress, offset } from "@margay/net";
import { type Allocation, type Block, prefixOfBlock } from "./block.ts";
import type { Sequenced } from "./plan.ts";

/** What is known for certain. What nobody knows is no reason to free anything. */
export interface Evidence {
  /** Nodes that were deleted. Not those that are merely silent. */
  readonly goneNodes?: ReadonlySet<string>;
  /** Containers that their runtime does not have any more, by id. */
  readonly goneContainers?: ReadonlySet<string>;
  /** Network namespaces that do not exist any more, as `namespaceId` names them. */
  readonly goneNamespaces?: ReadonlySet<string>;
  /** Addresses whose interface has vanished from the node, to the container that had it. */
  readonly goneInterfaces?: ReadonlyMap<string, string>;
  /** Addresses that a live endpoint has now, to its container: never freed, whatever else is said of that container. */
  readonly endpoints?: ReadonlyMap<string, string | undefined>;
}

/** A handle whose addresses can all be freed, and why. */
export interface Garbage {
  readonly handle: string;
  readonly reason: ReleaseReason;
  /** With the sequence numbers seen: one that was given anew meanwhile is not freed. */
  readonly addresses: readonly Sequenced[];
}

interface Verdict extends Sequenced {
  readonly handle: string;
  /** Undefined: nothing proves that it is unused. */
  readonly reason: ReleaseReason | undefined;
}

/**
 * What can be freed. A handle's addresses go together or not at all: a pod with one live address is a live pod.
 * Pure: the same blocks and evidence give the same answer, in order of handle.
 */
export function garbage(blocks: readonly Block[], evidence: Evidence): Garbage[] {
  const byHandle = Map.groupBy(
    blocks.flatMap((block) => verdicts(block, evidence)),
    ({ handle }) => handle,
  );
  return [...byHandle]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([handle, all]) => {
      const reason = all[0]?.reason;
      if (!reason || all.some((one) => !one.reason)) return [];
      return [{ handle, reason, addresses: all.map(({ address, sequence }) => ({ address, sequence })) }];
    });
}

function verdicts(block: Block, evidence: Evidence): Verdict[] {
  const first = prefixOfBlock(block);
  return Object.entries(block.allocations).map(([ordinal, allocation]) => {
    const address: Address = offset(first, Number(ordinal));
    const { handle, sequence } = allocation;
    return { address, sequence, handle, reason: proof(allocation, formatAddress(address), evidence) };
  });
}

/** Why the address is certainly unused; a deleted node outweighs what its last endpoints said. */
function proof({ attributes }: Allocation, address: string, evidence: Evidence): ReleaseReason | undefined {
  const { node, containerID } = attributes;
  const has = (set: ReadonlySet<string> | undefined, id: string | undefined) =>
    id !== undefined && set?.has(id) === true;
  if (has(evidence.goneNodes, node)) return "node-deleted";
  const interfaceGone = containerID !== undefined && evidence.goneInterfaces?.get(address) === containerID;
  const { endpoints } = evidence;
  const inUse = endpoints?.has(address) && (endpoints.get(address) ?? containerID) === containerID;
  if (inUse && !interfaceGone) return undefined;
  if (has(evidence.goneContainers, containerID)) return "container-gone";
  if (interfaceGone) return "interface-gone";
  return has(evidence.goneNamespaces, namespaceId(attributes)) ? "namespace-gone" : undefined;
}

/** A node's network namespace by path and inode: a new one under an old path is another. */
export const namespaceId = ({ node, netns, netnsInode }: Allocation["attributes"]): string | undefined =>
  node && netns && netnsInode && `${node} ${netns} ${netnsInode}`;
