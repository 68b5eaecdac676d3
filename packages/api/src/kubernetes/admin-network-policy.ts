import * as z from "zod";
import {
  type AdminPolicy,
  type AdminRule,
  adminPolicy,
  checkEgress,
  closedAdminPolicy,
  clusterMetadata,
  egressPeer,
  exactlyOne,
  ingressPeer,
  type Peer,
  type ProtocolMatch,
  portNumber,
  priority,
  subject,
} from "./admin-policy.ts";
import type { RefusedObject } from "./refused.ts";
import { storedName } from "./stored-name.ts";
import { withClosedRules, withoutUnknownPeers } from "./unknown-peers.ts";

/**
 * policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy and BaselineAdminNetworkPolicy: what ClusterNetworkPolicy was before
 * v1alpha2 of network-policy-api. Theirs are 100 rules, peers and ports where it has 25.
 */

const protocol = z.enum(["TCP", "UDP", "SCTP"]).default("TCP");
const port = z
  .object({
    portNumber: z.object({ protocol, port: portNumber }).optional(),
    namedPort: z.string().min(1).optional(),
    portRange: z
      .object({ protocol, start: portNumber, end: portNumber })
      .superRefine(({ start, end }, context) => {
        if (start >= end)
          context.addIssue({ code: "custom", path: ["end"], message: `must be above ${start}` });
      })
      .optional(),
  })
  .superRefine(exactlyOne("portNumber, namedPort, portRange"));

/** Of rules, peers and ports. */
const MOST = 100;
const ports = z.array(port).max(MOST).optional();
const name = z.string().max(100).optional();

function specWith<A extends z.ZodType<"Allow" | "Deny" | "Pass">>(action: A) {
  const ingressRule = z.object({ name, action, ports, from: z.array(ingressPeer).min(1).max(MOST) });
  const egressRule = z
    .object({ name, action, ports, to: z.array(egressPeer).min(1).max(MOST) })
    .superRefine((rule, context) =>
      checkEgress(
        rule,
        (rule.ports ?? []).some(({ namedPort }) => namedPort),
        context,
      ),
    );
  return {
    subject,
    ingress: z.array(ingressRule).max(MOST).optional(),
    egress: z.array(egressRule).max(MOST).optional(),
  };
}

const apiVersion = z.literal("policy.networking.k8s.io/v1alpha1");
const status = z.unknown().optional();

export const kubernetesAdminNetworkPolicy = z.object({
  ...{ apiVersion, kind: z.literal("AdminNetworkPolicy"), metadata: clusterMetadata, status },
  spec: z.object({ priority, ...specWith(z.enum(["Allow", "Deny", "Pass"])) }),
});

/** A cluster has one, called `default`. */
export const kubernetesBaselineAdminNetworkPolicy = z.object({
  ...{ apiVersion, kind: z.literal("BaselineAdminNetworkPolicy"), metadata: clusterMetadata, status },
  spec: z.object(specWith(z.enum(["Allow", "Deny"]))),
});

type Admin = z.output<typeof kubernetesAdminNetworkPolicy>;
type Baseline = z.output<typeof kubernetesBaselineAdminNetworkPolicy>;

/** Ours, in the tier `kube-admin`, by its priority (calico.md §1.9). */
export const adminNetworkPolicyFrom = (policy: Admin): object => adminPolicy(readAdmin(policy));

/** Ours, the last in the tier `kube-baseline`. */
export const baselineAdminNetworkPolicyFrom = (policy: Baseline): object => adminPolicy(readBaseline(policy));

const readAdmin = ({ metadata, spec }: Pick<Admin, "metadata" | "spec">): AdminPolicy => ({
  ...{ name: adminPolicyName(metadata.name), tier: "kube-admin", order: spec.priority },
  ...written(metadata, spec),
});

const readBaseline = ({ metadata, spec }: Pick<Baseline, "metadata" | "spec">): AdminPolicy => ({
  ...{ name: baselinePolicyName(metadata.name), tier: "kube-baseline", ...written(metadata, spec) },
});

const written = (
  { labels, annotations }: Admin["metadata"],
  { subject, ...spec }: Baseline["spec"] | Admin["spec"],
) => ({
  ...{ labels, annotations, subject },
  ingress: (spec.ingress ?? []).map((rule) => ruleOf(rule, rule.from)),
  egress: (spec.egress ?? []).map((rule) => ruleOf(rule, rule.to)),
});

type Port = z.output<typeof port>;
type Rule = Pick<AdminRule, "name" | "action"> & { readonly ports?: readonly Port[] | undefined };

const ruleOf = ({ name, action, ports = [] }: Rule, peers: readonly Peer[]): AdminRule => ({
  ...{ name, action, peers },
  ...(ports.length > 0 && { protocols: ports.map(protocolOf) }),
});

const FIELDS = { TCP: "tcp", UDP: "udp", SCTP: "sctp" } as const;

function protocolOf({ portNumber, portRange, namedPort }: Port): ProtocolMatch {
  if (portNumber) return { [FIELDS[portNumber.protocol]]: { destinationPort: { number: portNumber.port } } };
  if (portRange) {
    const { protocol, ...range } = portRange;
    return { [FIELDS[protocol]]: { destinationPort: { range } } };
  }
  return { destinationNamedPort: namedPort };
}

/** Calico's names of them. */
export const adminPolicyName = (name: string): string => storedName("kanp.adminnetworkpolicy.", name);
export const baselinePolicyName = (name: string): string =>
  storedName("kbanp.baselineadminnetworkpolicy.", name);

/** One whose priority cannot be read stands before all others. */
export const closedAdminNetworkPolicy = ({ metadata, spec }: RefusedObject): object =>
  closedAdminPolicy(
    {
      ...{ name: adminPolicyName(metadata.name), tier: "kube-admin" },
      order: priority.safeParse(spec.priority).data ?? 0,
    },
    spec,
  );

export const closedBaselineAdminNetworkPolicy = ({ metadata, spec }: RefusedObject): object =>
  closedAdminPolicy({ name: baselinePolicyName(metadata.name), tier: "kube-baseline" }, spec);

/** One whose only fault is peers that are not known: closed rule by rule. Undefined for all others. */
export function adminNetworkPolicyByRule({ metadata, spec }: RefusedObject): object | undefined {
  const known = withoutUnknownPeers(spec);
  const parsed = known && kubernetesAdminNetworkPolicy.shape.spec.safeParse(known).data;
  return parsed && adminPolicy(withClosedRules(spec, readAdmin({ metadata, spec: parsed })));
}

/** The same. */
export function baselineAdminNetworkPolicyByRule({ metadata, spec }: RefusedObject): object | undefined {
  const known = withoutUnknownPeers(spec);
  const parsed = known && kubernetesBaselineAdminNetworkPolicy.shape.spec.safeParse(known).data;
  return parsed && adminPolicy(withClosedRules(spec, readBaseline({ metadata, spec: parsed })));
}
