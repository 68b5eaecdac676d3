import * as z from "zod";
import { kubernetesPolicySpec } from "../kubernetes/network-policy.ts";
import { define, type SpecOf } from "../resource.ts";
import {
  betweenGlobal,
  checkGlobal,
  completed,
  globalFields,
  HINTS,
  namespacedFields,
  policyName,
} from "./policy.ts";
import { outdatedRules } from "./rule-domains.ts";

/** Policies that are evaluated and counted, and never enforced (calico.md §1.9). */

const stagedAction = {
  stagedAction: z
    .enum(["Set", "Delete", "Learn", "Ignore"])
    .default("Set")
    .describe(
      "What it stages: the policy of its name as written here (Set), or without it (Delete). Learn and Ignore stage nothing.",
    ),
};

const EARLY = "nothing is staged before connection tracking or destination NAT: the policy counts nothing";

const stagedSpec = namespacedFields.extend(stagedAction).prefault({});
const stagedGlobalSpec = globalFields.extend(stagedAction).superRefine(checkGlobal).prefault({});
const stagedKubernetesSpec = kubernetesPolicySpec.extend(stagedAction).prefault({});

export type StagedNetworkPolicySpec = SpecOf<typeof stagedSpec>;
export type StagedGlobalNetworkPolicySpec = SpecOf<typeof stagedGlobalSpec>;
export type StagedKubernetesNetworkPolicySpec = SpecOf<typeof stagedKubernetesSpec>;

export const stagedNetworkPolicy = define({
  kind: "StagedNetworkPolicy",
  plural: "stagednetworkpolicies",
  aliases: ["snp"],
  scope: "namespaced",
  description: "A NetworkPolicy on trial: evaluated and counted, never enforced.",
  spec: stagedSpec,
  name: policyName,
  complete: completed,
  outdated: outdatedRules,
  idle: () => HINTS,
  columns: [
    { title: "TIER", value: ({ spec }) => spec.tier },
    { title: "ACTION", value: ({ spec }) => spec.stagedAction },
    { title: "SELECTOR", wide: true, value: ({ spec }) => spec.selector },
  ],
  example: {
    metadata: { name: "allow-frontend", namespace: "shop" },
    spec: {
      selector: "app == 'backend'",
      ingress: [{ action: "Allow", source: { selector: "app == 'frontend'" } }],
    },
  },
});

export const stagedGlobalNetworkPolicy = define({
  kind: "StagedGlobalNetworkPolicy",
  plural: "stagedglobalnetworkpolicies",
  aliases: ["sgnp"],
  scope: "cluster",
  description: "A GlobalNetworkPolicy on trial: evaluated and counted, never enforced.",
  spec: stagedGlobalSpec,
  between: betweenGlobal,
  name: policyName,
  complete: completed,
  outdated: outdatedRules,
  idle: ({ doNotTrack, preDNAT }) => ({
    ...HINTS,
    ...(doNotTrack && { doNotTrack: EARLY }),
    ...(preDNAT && { preDNAT: EARLY }),
  }),
  columns: [
    { title: "TIER", value: ({ spec }) => spec.tier },
    { title: "ACTION", value: ({ spec }) => spec.stagedAction },
    { title: "SELECTOR", wide: true, value: ({ spec }) => spec.selector },
  ],
  example: {
    metadata: { name: "deny-metadata-service" },
    spec: { types: ["Egress"], egress: [{ action: "Deny", destination: { nets: ["169.254.169.254/32"] } }] },
  },
});

export const stagedKubernetesNetworkPolicy = define({
  kind: "StagedKubernetesNetworkPolicy",
  plural: "stagedkubernetesnetworkpolicies",
  aliases: ["sknp"],
  scope: "namespaced",
  description: "A NetworkPolicy of Kubernetes on trial: evaluated and counted, never enforced.",
  spec: stagedKubernetesSpec,
  columns: [{ title: "ACTION", value: ({ spec }) => spec.stagedAction }],
  example: {
    metadata: { name: "db", namespace: "shop" },
    spec: { podSelector: { matchLabels: { app: "db" } }, policyTypes: ["Ingress"] },
  },
});
