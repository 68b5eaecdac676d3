import * as z from "zod";
import { labelName, nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";

/** v1 ServiceAccount; only its name and labels matter here. */
export const kubernetesServiceAccount = z
  .object({
    apiVersion: z.literal("v1"),
    kind: z.literal("ServiceAccount"),
    metadata: z
      .object({
        name: text(nameOf),
        namespace: text(nameOf).default("default"),
        labels: z.record(labelName, z.string()).optional(),
      })
      .loose(),
  })
  .loose();

/** The profile `ksa.<namespace>.<name>`: no rules, and the account's labels under `pcsa.` for its pods (calico.md §1.10). */
export const serviceAccountProfileFrom = ({
  metadata: { name, namespace, labels = {} },
}: z.output<typeof kubernetesServiceAccount>): object => ({
  ...{ apiVersion: "margay.dev/v1", kind: "Profile" },
  metadata: { name: `ksa.${namespace}.${name}` },
  spec: {
    labelsToApply: Object.fromEntries(
      Object.entries({ ...labels, "projectcalico.org/name": name }).map(([label, value]) => [
        `pcsa.${label}`,
        value,
      ]),
    ),
  },
});
