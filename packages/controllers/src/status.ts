import type { KubernetesObject } from "@margay/kubernetes";

/** A condition of type Accepted, as `kubectl get -o yaml` shows it. */
interface Condition {
  readonly type: "Accepted";
  readonly status: "True" | "False";
  readonly reason: "Valid" | "Invalid";
  readonly message: string;
  readonly observedGeneration?: number;
}

/** What the status should say (pure). `refused`: why, if so. */
export function acceptance(generation: number | undefined, refused: string | undefined): Condition {
  return {
    type: "Accepted",
    status: refused === undefined ? "True" : "False",
    reason: refused === undefined ? "Valid" : "Invalid",
    message: refused ?? "in the datastore",
    ...(generation !== undefined && { observedGeneration: generation }),
  };
}

/** The condition that the object has now, as text to compare. */
export function acceptedNow({ status }: KubernetesObject): string | undefined {
  const { conditions } = (status ?? {}) as { conditions?: readonly Condition[] };
  const found = conditions?.find(({ type }) => type === "Accepted");
  return found && conditionText(found);
}

/** Without its time: a condition that says the same is not written again. */
export const conditionText = ({ status, reason, message, observedGeneration }: Condition): string =>
  JSON.stringify([status, reason, message, observedGeneration]);

/** A merge patch of the status subresource. */
export const statusPatch = (condition: Condition, now: Date): object => ({
  status: { conditions: [{ ...condition, lastTransitionTime: now.toISOString().replace(/\.\d+Z$/, "Z") }] },
});
