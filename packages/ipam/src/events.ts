import type { ReleaseReason } from "@margay/api";
import { parsePrefix } from "@margay/net";
import { affinityOf, type Block, type Held } from "./block.ts";
import type { Versioned } from "./view.ts";

/** What happened, for logs and metrics. Every address freed is told with its reason. */
export type IpamEvent =
  | { readonly kind: "block-claimed" | "block-returned"; readonly cidr: string }
  | ({ readonly kind: "freed"; readonly reason: ReleaseReason } & Held)
  | {
      readonly kind: "near-block-limit";
      readonly node: string;
      readonly owned: number;
      readonly limit: number;
    };

/** From four fifths of the limit on, and always while one more block can still be had. */
const WARN_FROM = 0.8;

type Owned = Iterable<Versioned<Block>>;
interface Limit {
  readonly node: string;
  /** 0: none. */
  readonly limit: number;
}

/** Said before pods fail: the node has nearly as many blocks of a family as maxBlocksPerHost allows. */
export function limitWarning(
  blocks: Owned,
  { node, limit }: Limit,
): Extract<IpamEvent, { kind: "near-block-limit" }> | undefined {
  const owned = ownedOf(blocks, node);
  const from = Math.min(Math.ceil(limit * WARN_FROM), limit - 1);
  return limit > 0 && owned >= Math.max(from, 1)
    ? { kind: "near-block-limit", node, owned, limit }
    : undefined;
}

/** How much of maxBlocksPerHost the node has; 0 without a limit. */
export const limitRatio = (blocks: Owned, { node, limit }: Limit): number =>
  limit > 0 ? ownedOf(blocks, node) / limit : 0;

/** Of the family that has more. */
function ownedOf(blocks: Owned, node: string): number {
  const own = [...blocks].filter(({ value }) => value.affinity === affinityOf(node));
  const of = (family: 4 | 6) => own.filter(({ value }) => parsePrefix(value.cidr).family === family).length;
  return Math.max(of(4), of(6));
}
