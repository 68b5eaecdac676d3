import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  hostPrefix,
  type Prefix,
  sameAddress,
} from "@margay/net";
import { programsPlain, type Reached, reach } from "./reach.ts";
import type { Survey } from "./survey.ts";

/** Where a node's kernel sends packets to one address. */
export type Leg =
  /** To a pod of its own. */
  | { readonly kind: "pod" }
  /** To itself. */
  | { readonly kind: "local" }
  /** To the node of a block, or of a pod whose address is borrowed from another node's block. */
  | { readonly kind: "remote"; readonly node: string; readonly reached: Reached }
  /** Nowhere: no pod has this address of its block. */
  | { readonly kind: "blackhole"; readonly block: Prefix }
  /** As the node's own routes say: `why` Margay has no say. */
  | { readonly kind: "own-routes"; readonly why: string };

/** The route that a node takes to an address, from what the datastore says should be there. */
export function legTo(address: Address, node: string, survey: Survey): Leg {
  const holder = survey.pods.find(({ addresses }) => addresses.some((a) => sameAddress(a, address)));
  if (holder?.node === node) return { kind: "pod" };
  const floats = survey.floating.get(formatAddress(address));
  if (floats && floats.pod.node !== node)
    return { kind: "own-routes", why: `it is a floating address of ${floats.pod.pod} on ${floats.pod.node}` };
  const owner = survey.nodes.find(({ addresses }) => addresses.some((a) => sameAddress(a.address, address)));
  if (owner && !holder)
    return owner.name === node
      ? { kind: "local" }
      : { kind: "own-routes", why: `it is an address of node ${owner.name}` };
  const blocks = survey.blocks.filter(({ cidr }) => contains(cidr, address));
  const block = holder
    ? (blocks.find((b) => b.node === holder.node) ?? { cidr: hostPrefix(address), node: holder.node })
    : blocks[0];
  const pool = survey.pools.find(({ cidr }) => contains(cidr, address));
  if (!block)
    return { kind: "own-routes", why: pool ? `no node has a block of it` : "it is outside all pools" };
  if (block.node === node) return { kind: "blackhole", block: block.cidr };
  const { nodes, pools, configurations } = survey;
  const plain = programsPlain(configurations, node);
  const [reached] = reach({ node, blocks: [block], nodes, pools, programsPlain: plain });
  if (!reached) return { kind: "own-routes", why: "nothing reaches it" };
  if (reached.daemon === "bgpd" && pool?.isExported !== true)
    return {
      kind: "own-routes",
      why: `${formatPrefix(block.cidr)} of ${block.node} is not announced: ${pool ? `pool ${pool.name} has disableBGPExport` : "it lies in no pool"}`,
    };
  return { kind: "remote", node: block.node, reached };
}
