import { type AnyResource, APPLIED_FROM, type AppliedFrom, parseAppliedFrom } from "@margay/api";
import type { Direction } from "./model.ts";
import { policyId, profileId, stagedId } from "./resources.ts";
import type { Survey } from "./survey.ts";

/** Where `margay apply` read each policy and profile, by id; without those that came another way. */
export function ruleOrigins({ updates }: Pick<Survey, "updates">): ReadonlyMap<string, AppliedFrom> {
  const pairs = updates.flatMap(({ value }) => {
    const text = value?.metadata.annotations?.[APPLIED_FROM];
    const id = value && idOf(value);
    const from = text === undefined ? undefined : parseAppliedFrom(text);
    return id !== undefined && from ? [[id, from] as const] : [];
  });
  return new Map(pairs);
}

/** `db.yaml:18`: of a rule by its place, or, where that is not known, of its policy. */
export function locationOf(
  { file, line, ...lines }: AppliedFrom,
  direction: Direction,
  index: number,
): string {
  return `${file}:${lines[direction][index] || line}`;
}

function idOf({ kind, metadata: { name, namespace } }: AnyResource): string | undefined {
  switch (kind) {
    case "NetworkPolicy":
    case "GlobalNetworkPolicy":
      return policyId(name, namespace);
    case "Profile":
      return profileId(name);
    case "StagedNetworkPolicy":
    case "StagedGlobalNetworkPolicy":
    case "StagedKubernetesNetworkPolicy":
      return stagedId(kind, name, namespace);
    default:
      return undefined;
  }
}
