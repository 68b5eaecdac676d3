import type { ReleaseReason } from "@margay/api";
import type { Allocation, Block, Terms } from "./block.ts";

/** An entry of a block's journal: an address that was freed. */
export type Freed = NonNullable<Block["released"]>[number];

/** Why and when addresses are freed. */
export interface Freeing {
  readonly reason: ReleaseReason;
  readonly at: Date;
  /** How long they rest. */
  readonly cooldownSeconds: number;
}

/** Entries that are kept although nothing cools down: enough to explain, little enough to write each time. */
const LENGTH = 16;

/** The block's journal after these ordinals of it are freed: at most one entry for each address, the latest last. */
export function remember(block: Block, freed: readonly number[], freeing: Freeing): Freed[] {
  const cold = cooling(block, { now: freeing.at, cooldownSeconds: freeing.cooldownSeconds });
  const entries = [
    ...(block.released ?? []).filter(({ ordinal }) => !freed.includes(ordinal)),
    ...freed.map((n) => entry(n, block.allocations[n]!, freeing)), // the caller frees what is allocated
  ];
  const rests = ({ ordinal }: Freed) =>
    cold.has(ordinal) || (freeing.cooldownSeconds > 0 && freed.includes(ordinal));
  return entries.filter((one, i) => entries.length - i <= LENGTH || rests(one));
}

/** The ordinals that were freed less than the cooldown ago, and not given since. */
export function cooling(
  block: Block,
  { now, cooldownSeconds }: Pick<Terms, "now" | "cooldownSeconds">,
): ReadonlySet<number> {
  if (cooldownSeconds === 0) return new Set();
  const since = now.getTime() - cooldownSeconds * 1000;
  const recent = (block.released ?? []).filter(
    ({ at, ordinal }) => Date.parse(at) > since && !block.allocations[ordinal],
  );
  return new Set(recent.map(({ ordinal }) => ordinal));
}

function entry(ordinal: number, { handle, attributes }: Allocation, { reason, at }: Freeing): Freed {
  const { pod, namespace, node, service } = attributes;
  return {
    ...{ ordinal, handle, reason, at: at.toISOString() },
    ...(pod && { pod }),
    ...(namespace && { namespace }),
    ...(node && { node }),
    ...(service && { service }),
  };
}
