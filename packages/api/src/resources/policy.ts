import * as z from "zod";
import { any, type Between, both, check, implies, is, isEmpty, not } from "../between.ts";
import { nameOf } from "../fields/names.ts";
import { namespaceSelector, selector } from "../fields/selectors.ts";
import { define, type SpecOf, withoutEffect } from "../resource.ts";
import { order, type Rule, rules } from "./rule.ts";
import { outdatedRules, withNowhere } from "./rule-domains.ts";
import { tier } from "./tier.ts";

/** Fields of Calico's that are taken and have no effect. */
export const HINTS = {
  performanceHints: "a policy is rendered where it selects something, and in time",
} as const;

const shared = {
  tier,
  order,
  selector: selector.default("all()").describe("Endpoints the policy applies to, by label."),
  types: z
    .array(z.enum(["Ingress", "Egress"]))
    .optional()
    .describe(
      "Directions it applies to: [Egress] if only egress rules are given, both if both are, else [Ingress].",
    ),
  ingress: rules.optional().describe("Rules for packets to the endpoint, in order."),
  egress: rules.optional().describe("Rules for packets from the endpoint, in order."),
  serviceAccountSelector: selector
    .optional()
    .describe("Further limits the endpoints by the labels of their service account."),
  performanceHints: z
    .array(z.enum(["AssumeNeededOnEveryNode"]))
    .optional()
    .describe(withoutEffect(HINTS.performanceHints)),
};

/** What depends on other fields: Calico's defaulting of `types`, of which a given list, even an empty one, is kept; and what stands beside domains. */
export const completed = <S extends Directed>(spec: S): S => withNowhere(withTypes(spec));

interface Directed {
  types?: ("Ingress" | "Egress")[] | undefined;
  ingress?: Rule[] | undefined;
  egress?: Rule[] | undefined;
}

function withTypes<S extends Directed>(spec: S): S {
  if (spec.types) return spec;
  if (!spec.egress?.length) return { ...spec, types: ["Ingress"] };
  return { ...spec, types: spec.ingress?.length ? ["Ingress", "Egress"] : ["Egress"] };
}

/** What names of policies begin with that come from Kubernetes' own kinds. */
export const convertedPolicyPrefixes = ["knp.default.", "kcnp.", "kanp.", "kbanp."] as const;

/** `name`, the older `tier.name`, or the prefix of policies that come from Kubernetes. */
export function policyName(name: string): string | undefined {
  if (nameOf(name)) return nameOf(name);
  const isConverted = convertedPolicyPrefixes.some((prefix) => name.startsWith(prefix));
  if (isConverted || name.split(".").length <= 2) return undefined;
  const these = convertedPolicyPrefixes.map((prefix) => `${prefix}*`).join(", ");
  return `must be "name" or "tier.name": at most one dot (only ${these} may have more)`;
}

/** What NetworkPolicy says, and its staged twin. */
export const namespacedFields = z.object(shared);

const networkPolicySpec = namespacedFields.prefault({});

export const globalFields = z.object({
  ...shared,
  namespaceSelector: namespaceSelector
    .optional()
    .describe("Namespaces whose endpoints it applies to, by label."),
  doNotTrack: z
    .boolean()
    .default(false)
    .describe("Applied before connection tracking; needs applyOnForward."),
  preDNAT: z
    .boolean()
    .default(false)
    .describe("Applied before destination NAT; needs applyOnForward, no egress rules."),
  applyOnForward: z.boolean().default(false).describe("Also applied to traffic a host forwards."),
});

export const betweenGlobal: readonly Between[] = [
  {
    ...{ path: "preDNAT", message: "must not be true beside doNotTrack" },
    must: not(both(is("doNotTrack", true), is("preDNAT", true))),
  },
  {
    ...{ path: "applyOnForward", message: "must be true when doNotTrack or preDNAT is" },
    must: implies(any(is("doNotTrack", true), is("preDNAT", true)), is("applyOnForward", true)),
  },
  {
    ...{ path: "egress", message: "must be empty when preDNAT is true" },
    must: implies(is("preDNAT", true), isEmpty("egress")),
  },
];

/** What must hold between the fields of a global policy. */
export function checkGlobal(spec: z.output<typeof globalFields>, context: z.RefinementCtx): void {
  check(betweenGlobal)(spec, context);
  for (const [direction, list] of [
    ["ingress", spec.ingress],
    ["egress", spec.egress],
  ] as const)
    for (const [i, rule] of (list ?? []).entries())
      for (const side of ["source", "destination"] as const)
        if (rule[side]?.services && !rule[side]?.services?.namespace)
          context.addIssue({
            code: "custom",
            path: [direction, i, side, "services", "namespace"],
            message: "is required in a GlobalNetworkPolicy",
          });
}

const globalNetworkPolicySpec = globalFields.superRefine(checkGlobal).prefault({});

export type NetworkPolicySpec = SpecOf<typeof networkPolicySpec>;
export type GlobalNetworkPolicySpec = SpecOf<typeof globalNetworkPolicySpec>;

export const networkPolicy = define({
  kind: "NetworkPolicy",
  plural: "networkpolicies",
  aliases: ["np", "pol", "policy", "policies"],
  scope: "namespaced",
  description: "What the endpoints of one namespace may receive and send.",
  spec: networkPolicySpec,
  name: policyName,
  complete: completed,
  outdated: outdatedRules,
  idle: () => HINTS,
  columns: [
    { title: "TIER", value: ({ spec }) => spec.tier },
    { title: "ORDER", wide: true, value: ({ spec }) => spec.order },
    { title: "SELECTOR", wide: true, value: ({ spec }) => spec.selector },
  ],
  example: {
    metadata: { name: "allow-frontend", namespace: "shop" },
    spec: {
      order: 100,
      selector: "app == 'backend'",
      types: ["Ingress", "Egress"],
      ingress: [
        {
          action: "Allow",
          protocol: "TCP",
          source: { selector: "app == 'frontend'" },
          destination: { ports: [8080, "9000:9010", "metrics"] },
        },
      ],
      egress: [{ action: "Allow", protocol: "UDP", destination: { nets: ["10.96.0.10/32"], ports: [53] } }],
    },
  },
});

export const globalNetworkPolicy = define({
  kind: "GlobalNetworkPolicy",
  plural: "globalnetworkpolicies",
  aliases: ["gnp"],
  scope: "cluster",
  description: "What endpoints of all namespaces may receive and send.",
  spec: globalNetworkPolicySpec,
  between: betweenGlobal,
  name: policyName,
  complete: completed,
  outdated: outdatedRules,
  idle: () => HINTS,
  columns: [
    { title: "TIER", value: ({ spec }) => spec.tier },
    { title: "ORDER", wide: true, value: ({ spec }) => spec.order },
    { title: "SELECTOR", wide: true, value: ({ spec }) => spec.selector },
  ],
  example: {
    metadata: { name: "deny-metadata-service" },
    spec: {
      order: 10,
      namespaceSelector: "has(projectcalico.org/name)",
      types: ["Egress"],
      egress: [{ action: "Deny", destination: { nets: ["169.254.169.254/32"] } }, { action: "Pass" }],
    },
  },
});
