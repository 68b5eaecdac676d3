import * as z from "zod";
import {
  type AdminPolicy,
  type AdminRule,
  adminPolicy,
  checkEgress,
  closedAdminPolicy,
  clusterMetadata,
  egressPeer,
  ingressPeer,
  type Peer,
  priority,
  protocolMatch,
  subject,
} from "./admin-policy.ts";
import type { RefusedObject } from "./refused.ts";
import { storedName } from "./stored-name.ts";
import { withClosedRules, withoutUnknownPeers } from "./unknown-peers.ts";

/** policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, as network-policy-api defines it. */

const common = {
  name: z.string().max(100).optional(),
  action: z.enum(["Accept", "Deny", "Pass"]),
  protocols: z.array(protocolMatch).min(1).max(25).optional(),
};
const ingressRule = z.object({ ...common, from: z.array(ingressPeer).min(1).max(25) });
const egressRule = z
  .object({ ...common, to: z.array(egressPeer).min(1).max(25) })
  .superRefine((rule, context) =>
    checkEgress(
      rule,
      (rule.protocols ?? []).some((one) => one.destinationNamedPort),
      context,
    ),
  );

export const kubernetesClusterNetworkPolicy = z.object({
  apiVersion: z.literal("policy.networking.k8s.io/v1alpha2"),
  kind: z.literal("ClusterNetworkPolicy"),
  metadata: clusterMetadata,
  spec: z.object({
    tier: z.enum(["Admin", "Baseline"]),
    priority,
    subject,
    ingress: z.array(ingressRule).max(25).optional(),
    egress: z.array(egressRule).max(25).optional(),
  }),
  status: z.unknown().optional(),
});

const TIERS = { Admin: "kube-admin", Baseline: "kube-baseline" } as const;

type ClusterPolicy = z.output<typeof kubernetesClusterNetworkPolicy>;

/** Ours, in the tier and at the order that its tier and priority mean (calico.md §1.9). */
export const clusterNetworkPolicyFrom = (policy: ClusterPolicy): object => adminPolicy(read(policy));

function read({ metadata, spec }: Pick<ClusterPolicy, "metadata" | "spec">): AdminPolicy {
  const { name, labels, annotations } = metadata;
  const { tier, subject, ingress = [], egress = [] } = spec;
  return {
    ...{ name: clusterPolicyName(name, tier), labels, annotations, subject },
    ...{ tier: TIERS[tier], order: spec.priority },
    ingress: ingress.map((rule) => ruleOf(rule, rule.from)),
    egress: egress.map((rule) => ruleOf(rule, rule.to)),
  };
}

type Rule = Pick<z.output<typeof ingressRule>, "name" | "action" | "protocols">;

const ruleOf = ({ name, action, protocols }: Rule, peers: readonly Peer[]): AdminRule => ({
  ...{ name, protocols, peers },
  action: action === "Accept" ? "Allow" : action,
});

/** Whose tier cannot be read is named, and closes its pods, as one of the first tier. */
export const clusterPolicyName = (name: string, tier: unknown): string =>
  storedName(`kcnp.${tier === "Baseline" ? "baseline" : "admin"}.`, name);

/** One whose priority cannot be read stands before all others. */
export const closedClusterNetworkPolicy = ({ metadata, spec }: RefusedObject): object =>
  closedAdminPolicy(
    {
      name: clusterPolicyName(metadata.name, spec.tier),
      tier: TIERS[spec.tier === "Baseline" ? "Baseline" : "Admin"],
      order: priority.safeParse(spec.priority).data ?? 0,
    },
    spec,
  );

/** One whose only fault is peers that are not known: closed rule by rule. Undefined for all others. */
export function clusterNetworkPolicyByRule({ metadata, spec }: RefusedObject): object | undefined {
  const known = withoutUnknownPeers(spec);
  const parsed = known && kubernetesClusterNetworkPolicy.shape.spec.safeParse(known).data;
  return parsed && adminPolicy(withClosedRules(spec, read({ metadata, spec: parsed })));
}
