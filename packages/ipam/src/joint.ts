import { MAX_CHANGES, type Change as Write } from "@margay/datastore";
import { affinityOf, type Held } from "./block.ts";
import type { Change } from "./draft.ts";
import type { Answer } from "./plan.ts";

/** What else to write in the same transaction as the addresses, once it is known which; asked anew for every plan. */
export type Along = (held: readonly Held[]) => readonly Write[];

/** What of a plan goes into one transaction. */
export interface Joint {
  readonly changes: readonly Change[];
  /** By the operation's index in the plan; an operation that is not among them must do without. */
  readonly along: ReadonlyMap<number, readonly Write[]>;
}

/**
 * This node's own blocks change together: hardly anybody else writes those. A block of another node's may be fought for, and
 * a new one is claimed in steps: each of them stands for itself (pure).
 */
export function jointOf(
  node: string,
  changes: readonly Change[],
  { answers, along }: { answers: readonly Answer[]; along: readonly (Along | undefined)[] },
): Joint {
  const own = changes.filter(
    ({ before, after }) => before && after && before.value.affinity === affinityOf(node),
  );
  const chosen = own.slice(0, MAX_CHANGES);
  const inside = new Set(chosen.map(({ cidr }) => cidr));
  const aboard = new Map<number, readonly Write[]>();
  let left = MAX_CHANGES - chosen.length;
  for (const [i, answer] of answers.entries()) {
    if (answer.kind !== "done" || !answer.blocks.every((cidr) => inside.has(cidr))) continue;
    const more = along[i]?.(answer.held) ?? [];
    if (more.length === 0 || more.length > left) continue;
    left -= more.length;
    aboard.set(i, more);
  }
  return { changes: chosen, along: aboard };
}
