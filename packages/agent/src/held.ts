import type { OwnedBlock } from "@margay/calc";
import type { HeldHere } from "@margay/cni";
import type { BlockView, Borrowed } from "@margay/ipam";
import { type Address, contains, hostPrefix, offset, type Prefix, parsePrefix } from "@margay/net";

/** All that IPAM holds for containers of a node, as far as the view knows. */
export function* heldHere(view: Pick<BlockView, "mine">, node: string): Generator<HeldHere> {
  for (const { value: block } of view.mine()) {
    const first = parsePrefix(block.cidr);
    for (const [ordinal, { handle, attributes }] of Object.entries(block.allocations))
      if (attributes.node === node)
        yield { address: offset(first, Number(ordinal)), handle, containerId: attributes.containerID };
  }
}

/** The block of this node that an address is in. */
export function blockOf(view: Pick<BlockView, "mine">, address: Address): Prefix | undefined {
  for (const { value: block } of view.mine()) {
    const prefix = parsePrefix(block.cidr);
    if (contains(prefix, address)) return prefix;
  }
  return undefined;
}

const kept = new WeakMap<readonly Borrowed[], readonly OwnedBlock[]>();

/** Borrowed addresses as blocks of one, the same array for the same: each is reached where it is used. */
export function borrowedIn(borrowed: readonly Borrowed[]): readonly OwnedBlock[] {
  const blocks =
    kept.get(borrowed) ?? borrowed.map(({ address, node }) => ({ cidr: hostPrefix(address), node }));
  kept.set(borrowed, blocks);
  return blocks;
}
