import type { HeldHere } from "@margay/cni";
import type { BlockView } from "@margay/ipam";
import { type Address, contains, offset, type Prefix, parsePrefix } from "@margay/net";

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
