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

/** The block and its affinity. */
const KEYS_OF_CLAIM = 2;

/**
 * This node's own blocks change together, those that it claims among them: hardly anybody else writes those, and of nodes that
 * want the same new one, as those of a rack do, one has it and the others plan again. A block of another node's may be fought for: each
 * of them stands for itself (pure).
 */
export function jointOf(
  node: string,
  changes: readonly Change[],
  { answers, along }: { answers: readonly Answer[]; along: readonly (Along | undefined)[] },
): Joint {
  const own = changes.filter(
    ({ before, after }) => after && (before?.value ?? after).affinity === affinityOf(node),
  );
  const chosen = own.slice(0, MAX_CHANGES / KEYS_OF_CLAIM);
  const inside = new Set(chosen.map(({ cidr }) => cidr));
  const aboard = new Map<number, readonly Write[]>();
  let left = MAX_CHANGES - chosen.reduce((keys, { before }) => keys + (before ? 1 : KEYS_OF_CLAIM), 0);
  for (const [i, answer] of answers.entries()) {
    if (answer.kind !== "done" || !answer.blocks.every((cidr) => inside.has(cidr))) continue;
    if (answer.fresh.length === 0) continue; // a repeat: what goes along is there, most likely, and would have all refused
    const more = along[i]?.(answer.held) ?? [];
    if (more.length === 0 || more.length > left) continue;
    left -= more.length;
    aboard.set(i, more);
  }
  return { changes: chosen, along: aboard };
}
