/**
 * Kinds of policy.networking.k8s.io that a cluster need not have: their CRDs without a schema, since what is tried is not the API
 * server's judgement, and one of each, which holds between the pods of a namespace with the label `guarded`.
 */
const GROUP = "policy.networking.k8s.io";
const inside = { namespaces: { matchLabels: { guarded: "yes" } } };
const denied = { subject: inside, ingress: [{ action: "Deny", from: [{ namespaces: {} }] }] };

export interface AdminKind {
  readonly kind: string;
  readonly version: string;
  /** Nobody in the cluster reaches the pods with the label. */
  readonly spec: object;
}
export const adminKinds: readonly AdminKind[] = [
  {
    ...{ kind: "ClusterNetworkPolicy", version: "v1alpha2" },
    spec: { tier: "Admin", priority: 7, ...denied },
  },
  { kind: "AdminNetworkPolicy", version: "v1alpha1", spec: { priority: 7, ...denied } },
  { kind: "BaselineAdminNetworkPolicy", version: "v1alpha1", spec: denied },
];

export const apiVersion = ({ version }: AdminKind): string => `${GROUP}/${version}`;

/** Their CRD. */
export const adminCrd = ({ kind, version }: AdminKind): string => openCrd({ group: GROUP, kind, version });

/** A CRD for the whole cluster that takes any spec, as JSON for kubectl. */
export function openCrd({ group, kind, version }: { group: string; kind: string; version: string }): string {
  const singular = kind.toLowerCase();
  const plural = singular.endsWith("y") ? singular.replace(/y$/, "ies") : `${singular}s`;
  const spec = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  const schema = { openAPIV3Schema: { type: "object", properties: { spec } } };
  const annotations = { "api-approved.kubernetes.io": "unapproved, a test's" };
  return JSON.stringify({
    ...{ apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition" },
    metadata: { name: `${plural}.${group}`, annotations },
    spec: {
      ...{ group, scope: "Cluster", names: { kind, plural, singular } },
      versions: [{ name: version, served: true, storage: true, schema }],
    },
  });
}
