import { placeIn } from "@margay/reconcile";
import type { TierPolicies } from "./model.ts";

/** Where a policy stands. */
export interface Rank {
  readonly tier: string;
  /** Absent: after all others. */
  readonly order?: number;
  readonly name: string;
  /** Kind and namespace, so that no two policies tie. */
  readonly id: string;
}

export interface TierSettings {
  readonly order?: number;
  readonly defaultAction: "deny" | "pass";
}

/** Tiers that every cluster has (calico.md §1.9). */
export const BUILT_IN_TIERS: ReadonlyMap<string, TierSettings> = new Map([
  ["kube-admin", { order: 1000, defaultAction: "pass" }],
  ["default", { order: 1_000_000, defaultAction: "deny" }],
  ["kube-baseline", { order: 10_000_000, defaultAction: "pass" }],
]);

/**
 * Groups policies into tiers, both in order: by number, the absent last, ties by name (calico.md §1.9). A tier that is
 * not known comes before all others: its place cannot be told, and its policies deny.
 */
export function byTier(
  policies: readonly Rank[],
  tierOf: (name: string) => TierSettings | undefined,
): readonly TierPolicies[] {
  const groups = Map.groupBy(policies, ({ tier }) => tier);
  const tiers = [...groups.keys()].map((name) => ({ name, known: tierOf(name) }));
  tiers.sort((a, b) => compareOrder(placeOf(a.known), placeOf(b.known)) || compareText(a.name, b.name));
  return tiers.map(({ name, known }) => ({
    tier: name,
    defaultAction: known?.defaultAction ?? "deny",
    policies: (groups.get(name) ?? []).toSorted(comparePolicies).map(({ id }) => id),
  }));
}

const placeOf = (tier: TierSettings | undefined): number | undefined =>
  tier ? tier.order : Number.NEGATIVE_INFINITY;

const comparePolicies = (a: Rank, b: Rank): number =>
  compareOrder(a.order, b.order) || compareText(a.name, b.name) || compareText(a.id, b.id);

function compareOrder(a = Number.POSITIVE_INFINITY, b = Number.POSITIVE_INFINITY): number {
  return a === b ? 0 : a - b;
}

/** By code unit, so that the order is the same on every machine. */
export const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Anything in a list that is kept in order of id. */
interface Identified {
  readonly id: string;
}

/** Where an id is in a list that is in order, or would be. */
export const placeOfId = (inOrder: readonly Identified[], id: string): number =>
  placeIn(inOrder, (one) => compareText(one.id, id) < 0);

/** The one of that id, in a list that is in order. */
export function findById<T extends Identified>(inOrder: readonly T[], id: string): T | undefined {
  const found = inOrder[placeOfId(inOrder, id)];
  return found?.id === id ? found : undefined;
}

/**
 * What is in one of two lists and not in the other, both in order of id: what changed is in both, as two objects. The others are only
 * seen to be the same objects, which takes some microseconds for thousands.
 */
export function changedById<T extends Identified>(before: readonly T[], now: readonly T[]): Changed<T> {
  if (last?.before === before && last.now === now) return last.changed as Changed<T>; // of the same lists
  const changed = compared(before, now);
  last = { before, now, changed };
  return changed;
}

/** Several ask about the same step. */
let last:
  | { readonly before: unknown; readonly now: unknown; readonly changed: Changed<Identified> }
  | undefined;

interface Changed<T> {
  readonly gone: readonly T[];
  readonly came: readonly T[];
}

function compared<T extends Identified>(before: readonly T[], now: readonly T[]): Changed<T> {
  const [gone, came]: [T[], T[]] = [[], []];
  if (before === now) return { gone, came };
  for (let [i, j] = [0, 0]; i < before.length || j < now.length; ) {
    const [old, one] = [before[i], now[j]];
    const order = old === one ? 0 : !old ? 1 : !one ? -1 : compareText(old.id, one.id);
    if (old && old !== one && order <= 0) gone.push(old);
    if (one && old !== one && order >= 0) came.push(one);
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
  return { gone, came };
}
