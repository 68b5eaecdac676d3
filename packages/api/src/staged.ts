import type {
  GlobalNetworkPolicy,
  NetworkPolicy,
  StagedGlobalNetworkPolicy,
  StagedKubernetesNetworkPolicy,
  StagedNetworkPolicy,
} from "./definitions.ts";
import { parseKubernetes } from "./kubernetes/convert.ts";

/** The policy that a staged one would be if it were enforced. Throws ApiError where a conversion of Kubernetes' would. */
export function stagedForm(
  staged: StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy,
): NetworkPolicy | GlobalNetworkPolicy {
  switch (staged.kind) {
    case "StagedNetworkPolicy":
      return { ...staged, kind: "NetworkPolicy" };
    case "StagedGlobalNetworkPolicy":
      return { ...staged, kind: "GlobalNetworkPolicy" };
    case "StagedKubernetesNetworkPolicy": {
      const { metadata, spec } = staged;
      const { stagedAction: _, ...its } = spec;
      const document = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata, spec: its };
      const converted = parseKubernetes(document)?.resource as NetworkPolicy; // what this kind becomes
      const { resourceVersion } = metadata;
      const revision = resourceVersion !== undefined ? { resourceVersion } : {};
      return { ...converted, metadata: { ...converted.metadata, ...revision } };
    }
  }
}
