import { changedKeys, oncePer, partsOf } from "@margay/reconcile";
import type { CompiledPolicy, CompiledRule, EntityMatch, LocalEndpoint, TierPolicies } from "./model.ts";
import { changedById } from "./order.ts";
import type { NodeState } from "./state.ts";

/**
 * The endpoints whose verdict on some packet may differ between two states of a node: their policies changed, or a set
 * that one of these refers to did. Without a state before, all of them.
 */
export function affected(before: NodeState | undefined, now: NodeState): readonly LocalEndpoint[] {
  if (!before) return now.endpoints;
  const came = new Set(changedById(before.endpoints, now.endpoints).came);
  const isChanged = changesBetween(before, now);
  if (!isChanged) return [...came];
  return now.endpoints.filter(
    (endpoint) =>
      came.has(endpoint) || isChanged(endpoint.profiles, [...endpoint.ingress, ...endpoint.egress]),
  );
}

/** Whether the verdict of any host endpoint may differ. */
export function hostsAffected(before: NodeState | undefined, now: NodeState): boolean {
  if (before?.hostEndpoints !== now.hostEndpoints) return true;
  const isChanged = changesBetween(before, now);
  if (!isChanged) return false;
  return now.hostEndpoints.some(({ profiles, normal, untracked, preDnat }) =>
    isChanged(
      profiles,
      [normal, untracked, preDnat].flatMap(({ ingress, egress }) => [...ingress, ...egress]),
    ),
  );
}

/** Whether any of an endpoint's profiles and policies, or a set that one of these refers to, is another; undefined if none is at all. */
function changesBetween(before: NodeState, now: NodeState) {
  const changedSets = changedKeys(before.sets, now.sets);
  const changedAmong = (was: Policies, is: Policies) => {
    const changed = changedKeys(was, is);
    for (const part of changedSets.size > 0 ? partsOf(is).values() : [])
      for (const set of changedSets) for (const id of referringTo(part).get(set) ?? []) changed.add(id);
    return changed;
  };
  const policies = changedAmong(before.policies, now.policies);
  const profiles = changedAmong(before.profiles, now.profiles);
  if (policies.size + profiles.size === 0) return undefined;
  return (itsProfiles: readonly string[], tiers: readonly TierPolicies[]): boolean =>
    itsProfiles.some((name) => profiles.has(name)) ||
    tiers.some((tier) => tier.policies.some((id) => policies.has(id)));
}

type Policies = ReadonlyMap<string, CompiledPolicy>;

/** The policies that refer to a set, by the set. */
const referringTo = oncePer((policies: Policies) => {
  const found = new Map<string, string[]>();
  for (const [id, { ingress, egress }] of policies)
    for (const set of new Set([...ingress, ...egress].flatMap(setsOf)))
      found.set(set, [...(found.get(set) ?? []), id]);
  return found;
});

const setsOf = ({ source, destination }: CompiledRule): readonly string[] => [
  ...setsIn(source),
  ...setsIn(destination),
];

const setsIn = ({ sets, notSets, namedPorts, notNamedPorts }: EntityMatch): readonly string[] => [
  ...sets,
  ...notSets,
  ...namedPorts,
  ...notNamedPorts,
];
