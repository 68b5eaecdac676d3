import * as z from "zod";
import { labelName, nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";

/** v1 Namespace; only its name and labels matter here. */
export const kubernetesNamespace = z.object({
  apiVersion: z.literal("v1"),
  kind: z.literal("Namespace"),
  metadata: z.object({ name: text(nameOf), labels: z.record(labelName, z.string()).optional() }).loose(),
  spec: z.unknown().optional(),
  status: z.unknown().optional(),
});

/**
 * A namespace as the Profile `kns.<name>` of its pods: it lets everything pass that no policy decided, as Kubernetes
 * does, and hands the namespace's labels to the pods with the prefix "pcns.". The name is a label too, under both names
 * by which people select it.
 */
export function profileFrom({
  metadata: { name, labels = {} },
}: z.output<typeof kubernetesNamespace>): object {
  const all = { ...labels, "projectcalico.org/name": name, "kubernetes.io/metadata.name": name };
  return {
    apiVersion: "margay.dev/v1",
    kind: "Profile",
    metadata: { name: `kns.${name}` },
    spec: {
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
      labelsToApply: Object.fromEntries(
        Object.entries(all).map(([label, value]) => [`pcns.${label}`, value]),
      ),
    },
  };
}
