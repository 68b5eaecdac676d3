import { contains } from "@margay/net";
import { affinityOf, type Block, isEmpty } from "./block.ts";
import { cooling } from "./journal.ts";
import { selectsNode } from "./pools.ts";
import type { BlockSummary } from "./view.ts";
import type { World } from "./world.ts";

export interface Tidying {
  /** Blocks to give back now. */
  readonly surplus: readonly string[];
  /** All own blocks that are empty: what has to be so the next time, too. */
  readonly empty: ReadonlySet<string>;
  /** Blocks without owner in which nothing seems to be used: to be read, and deleted if that is true. */
  readonly ownerless: readonly BlockSummary[];
}

/**
 * Which of the node's blocks it does not need: empty now and the last time, nothing in them cools down. One of each
 * family stays, the first claimed, so that the next pod needs no claim; but none of a pool that no longer selects
 * the node or has gone.
 */
export function surplusBlocks(world: World, emptyBefore: ReadonlySet<string>): Tidying {
  const own = [...world.view.mine()]
    .map(({ value }) => value)
    .filter(({ affinity }) => affinity === affinityOf(world.node));
  const empty = own.filter((block) => isEmpty(block) && !rests(world, block));
  const kept = ([":", "."] as const).flatMap((mark) => keptOf(world, own, mark));
  const surplus = empty.filter(({ cidr }) => emptyBefore.has(cidr) && !kept.includes(cidr));
  return {
    surplus: surplus.map(({ cidr }) => cidr),
    empty: new Set(empty.map(({ cidr }) => cidr)),
    ownerless: [...world.view.summaries().values()].filter(isUnused),
  };
}

/** A family's one block that stays, if all are empty: `mark` tells the family by the CIDR's text. */
function keptOf(world: World, own: readonly Block[], mark: ":" | "."): string[] {
  const usable = own.filter(({ cidr }) => cidr.includes(mark) && isSelected(world, cidr));
  if (usable.some((block) => !isEmpty(block))) return [];
  const first = usable.toSorted((a, b) => (a.affinityClaimTime < b.affinityClaimTime ? -1 : 1))[0];
  return first ? [first.cidr] : [];
}

function isSelected({ view, pools, labels }: World, cidr: string): boolean {
  const prefix = view.summaries().get(cidr)?.prefix;
  return pools.some((pool) => prefix && contains(pool.cidr, prefix) && selectsNode(pool, labels));
}

const rests = ({ now, limits }: World, block: Block): boolean =>
  cooling(block, { now, cooldownSeconds: limits.cooldownSeconds }).size > 0;

const isUnused = ({ affinity, free, prefix }: BlockSummary): boolean =>
  affinity === undefined && free === 2 ** ((prefix.family === 4 ? 32 : 128) - prefix.length);

/** Whether a block, read just now, can be deleted by anybody. */
export const isDisposable = (world: World, block: Block): boolean =>
  block.affinity === undefined && isEmpty(block) && !rests(world, block);
