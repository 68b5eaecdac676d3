import * as z from "zod";
import { net } from "../fields/addresses.ts";
import { nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { canonical } from "../selector/canonical.ts";
import { labelSelector, selectorOf } from "./label-selector.ts";
import { networkEntities, type PortGroup, podsOf, portsByProtocol } from "./network-policy.ts";
import type { RefusedObject } from "./refused.ts";
import { storedName } from "./stored-name.ts";

/** policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, as network-policy-api defines it. */

const namespacedPod = z.object({
  namespaceSelector: labelSelector.prefault({}),
  podSelector: labelSelector.prefault({}),
});

/** Exactly one field, as the API says; one of a later version is not known here, and refused. */
const exactlyOne = (what: string) => (value: object, context: z.RefinementCtx) => {
  const found = Object.entries(value).filter(([, field]) => field !== undefined);
  if (found.length !== 1)
    context.addIssue({ code: "custom", message: `must have exactly one of ${what}, found ${found.length}` });
};

const domainNames = z.unknown().superRefine((value, context) => {
  if (value !== undefined)
    context.addIssue({
      code: "custom",
      message: "domain names are not enforced by Margay; name networks instead",
    });
});

const subject = z
  .object({ namespaces: labelSelector.optional(), pods: namespacedPod.optional() })
  .superRefine(exactlyOne("namespaces, pods"));

const ingressPeer = z
  .object({ namespaces: labelSelector.optional(), pods: namespacedPod.optional() })
  .superRefine(exactlyOne("namespaces, pods"));

const egressPeer = z
  .object({
    namespaces: labelSelector.optional(),
    pods: namespacedPod.optional(),
    nodes: labelSelector.optional(),
    networks: z.array(net()).min(1).max(25).optional(),
    domainNames: domainNames.optional(),
  })
  .superRefine(exactlyOne("namespaces, pods, nodes, networks"));

const number = z.int().min(1).max(65535);
const ported = z.object({
  destinationPort: z
    .object({ number: number.optional(), range: z.object({ start: number, end: number }).optional() })
    .superRefine(exactlyOne("number, range"))
    .superRefine(({ range }, context) => {
      if (range && range.start >= range.end)
        context.addIssue({ code: "custom", path: ["range", "end"], message: `must be above ${range.start}` });
    })
    .optional(),
});

const protocolMatch = z
  .object({
    tcp: ported.optional(),
    udp: ported.optional(),
    sctp: ported.optional(),
    destinationNamedPort: z.string().min(1).optional(),
  })
  .superRefine(exactlyOne("tcp, udp, sctp, destinationNamedPort"));

const common = {
  name: z.string().max(100).optional(),
  action: z.enum(["Accept", "Deny", "Pass"]),
  protocols: z.array(protocolMatch).min(1).max(25).optional(),
};
const ingressRule = z.object({ ...common, from: z.array(ingressPeer).min(1).max(25) });
const egressRule = z
  .object({ ...common, to: z.array(egressPeer).min(1).max(25) })
  .superRefine(({ to, protocols = [] }, context) => {
    if (protocols.some((one) => one.destinationNamedPort) && to.some((peer) => peer.networks || peer.nodes))
      context.addIssue({
        code: "custom",
        path: ["to"],
        message: "networks and nodes have no named ports: name numbers, or make two rules",
      });
  });

const priority = z.int().min(0).max(1000);

export const kubernetesClusterNetworkPolicy = z.object({
  apiVersion: z.literal("policy.networking.k8s.io/v1alpha2"),
  kind: z.literal("ClusterNetworkPolicy"),
  metadata: z
    .object({
      name: text(nameOf),
      labels: z.record(z.string(), z.string()).optional(),
      annotations: z.record(z.string(), z.string()).optional(),
    })
    .loose(),
  spec: z.object({
    tier: z.enum(["Admin", "Baseline"]),
    priority,
    subject,
    ingress: z.array(ingressRule).max(25).optional(),
    egress: z.array(egressRule).max(25).optional(),
  }),
  status: z.unknown().optional(),
});

type Policy = z.output<typeof kubernetesClusterNetworkPolicy>;
type Peer = z.output<typeof egressPeer>;
type ProtocolMatch = z.output<typeof protocolMatch>;

const TIERS = { Admin: "kube-admin", Baseline: "kube-baseline" } as const;
const ACTIONS = { Accept: "Allow", Deny: "Deny", Pass: "Pass" } as const;

/**
 * Ours, in the tier and at the order that its tier and priority mean (calico.md §1.9). One rule of ours for each peer and
 * protocol; the name of a rule is kept as its annotation.
 */
export function clusterNetworkPolicyFrom({ metadata, spec }: Policy): object {
  const { name, labels, annotations } = metadata;
  const { ingress = [], egress = [] } = spec;
  const types = [...(ingress.length > 0 ? ["Ingress"] : []), ...(egress.length > 0 ? ["Egress"] : [])];
  return {
    ...{ apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy" },
    metadata: {
      name: clusterPolicyName(name, spec.tier),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    },
    spec: {
      ...{ tier: TIERS[spec.tier], order: spec.priority, ...peerOf(spec.subject), types },
      ingress: ingress.flatMap((rule) => rulesOf(rule, "source", rule.from)),
      egress: egress.flatMap((rule) => rulesOf(rule, "destination", rule.to)),
    },
  };
}

/** Whose tier cannot be read is named, and closes its pods, as one of the first tier. */
export const clusterPolicyName = (name: string, tier: unknown): string =>
  storedName(`kcnp.${tier === "Baseline" ? "baseline" : "admin"}.`, name);

/**
 * At its place, nothing passes to or from its pods in the directions that it has rules for; whatever of this cannot be read
 * is the widest: every pod, before all others, both directions.
 */
export function closedClusterNetworkPolicy({ metadata, spec }: RefusedObject): object {
  const ruled = [spec.ingress, spec.egress].map((rules) => rules !== undefined && !isEmpty(rules));
  const [isIn, isOut] = ruled.includes(true) ? ruled : [true, true];
  const whom = subject.safeParse(spec.subject).data;
  const deny = [{ action: "Deny" }];
  return {
    ...{ apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy" },
    metadata: { name: clusterPolicyName(metadata.name, spec.tier) },
    spec: {
      tier: TIERS[spec.tier === "Baseline" ? "Baseline" : "Admin"],
      order: priority.safeParse(spec.priority).data ?? 0,
      ...(whom ? peerOf(whom) : { selector: podsOf({}) }),
      types: [...(isIn ? ["Ingress"] : []), ...(isOut ? ["Egress"] : [])],
      ...(isIn && { ingress: deny }),
      ...(isOut && { egress: deny }),
    },
  };
}

const isEmpty = (rules: unknown): boolean => Array.isArray(rules) && rules.length === 0;

type Rule = Pick<z.output<typeof ingressRule>, "name" | "action" | "protocols">;

function rulesOf(rule: Rule, side: "source" | "destination", peers: readonly Peer[]): object[] {
  const groups = rule.protocols ? groupsOf(rule.protocols) : [{}];
  const annotated = rule.name ? { metadata: { annotations: { name: rule.name } } } : {};
  return entitiesOf(peers).flatMap((entity) =>
    groups.map(({ protocol, ports }: PortGroup) => {
      const destination = { ...(side === "destination" && entity), ...(ports && { ports }) };
      return {
        ...{ action: ACTIONS[rule.action], ...(protocol && { protocol }), ...annotated },
        ...(side === "source" && { source: entity }),
        ...(Object.keys(destination).length > 0 && { destination }),
      };
    }),
  );
}

/** Networks of all peers share a rule, one for each family; all others take one each. */
function entitiesOf(peers: readonly Peer[]): object[] {
  const others = peers.filter(({ networks }) => !networks);
  return [
    ...others.map(({ nodes, ...pods }) =>
      nodes ? { nodeSelector: canonical(selectorOf(nodes)) } : peerOf(pods),
    ),
    ...networkEntities(peers.flatMap(({ networks }) => networks ?? [])),
  ];
}

/** Pods of the namespaces: never network sets, nor pods of the host's network, which are no endpoints. */
const peerOf = ({ namespaces, pods }: Pick<Peer, "namespaces" | "pods">): object => ({
  selector: podsOf(pods?.podSelector ?? {}),
  namespaceSelector: canonical(selectorOf(pods?.namespaceSelector ?? namespaces ?? {})),
});

/** A named port is that of every protocol which has ports. */
function groupsOf(protocols: readonly ProtocolMatch[]): PortGroup[] {
  const named = protocols.flatMap(({ destinationNamedPort: port }) =>
    port === undefined ? [] : PROTOCOLS.map(([protocol]) => ({ protocol, port })),
  );
  const numbered = protocols.flatMap((match) =>
    PROTOCOLS.flatMap(([protocol, field]) => {
      const its = match[field];
      return its ? [{ protocol, port: portOf(its.destinationPort) }] : [];
    }),
  );
  return portsByProtocol([...numbered, ...named]);
}

const PROTOCOLS = [
  ["TCP", "tcp"],
  ["UDP", "udp"],
  ["SCTP", "sctp"],
] as const;

const portOf = (port: z.output<typeof ported>["destinationPort"]): number | string | undefined =>
  port?.number ?? (port?.range && `${port.range.start}:${port.range.end}`);
