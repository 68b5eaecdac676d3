import * as z from "zod";
import { net } from "../fields/addresses.ts";
import { domain } from "../fields/domains.ts";
import { nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { canonical } from "../selector/canonical.ts";
import { labelSelector, selectorOf } from "./label-selector.ts";
import { networkEntities, type PortGroup, podsOf, portsByProtocol } from "./network-policy.ts";

/** What policies of a cluster's administrators have in common, in each version of network-policy-api: whom they mean, and what it is here. */

const namespacedPod = z.object({
  namespaceSelector: labelSelector.prefault({}),
  podSelector: labelSelector.prefault({}),
});

/** Exactly one field, as the API says; one of a later version is not known here, and refused. */
export const exactlyOne = (what: string) => (value: object, context: z.RefinementCtx) => {
  const found = Object.entries(value).filter(([, field]) => field !== undefined);
  if (found.length !== 1)
    context.addIssue({ code: "custom", message: `must have exactly one of ${what}, found ${found.length}` });
};

export const subject = z
  .object({ namespaces: labelSelector.optional(), pods: namespacedPod.optional() })
  .superRefine(exactlyOne("namespaces, pods"));

export const ingressPeer = z
  .object({ namespaces: labelSelector.optional(), pods: namespacedPod.optional() })
  .superRefine(exactlyOne("namespaces, pods"));

export const egressPeer = z
  .object({
    namespaces: labelSelector.optional(),
    pods: namespacedPod.optional(),
    nodes: labelSelector.optional(),
    networks: z.array(net()).min(1).max(25).optional(),
    domainNames: z.array(domain).min(1).max(25).optional(),
  })
  .superRefine(exactlyOne("namespaces, pods, nodes, networks, domainNames"));

export const portNumber = z.int().min(1).max(65535);
const ported = z.object({
  destinationPort: z
    .object({
      number: portNumber.optional(),
      range: z.object({ start: portNumber, end: portNumber }).optional(),
    })
    .superRefine(exactlyOne("number, range"))
    .superRefine(({ range }, context) => {
      if (range && range.start >= range.end)
        context.addIssue({ code: "custom", path: ["range", "end"], message: `must be above ${range.start}` });
    })
    .optional(),
});

export const protocolMatch = z
  .object({
    tcp: ported.optional(),
    udp: ported.optional(),
    sctp: ported.optional(),
    destinationNamedPort: z.string().min(1).optional(),
  })
  .superRefine(exactlyOne("tcp, udp, sctp, destinationNamedPort"));

/** Each of these kinds bears such. */
export const clusterMetadata = z
  .object({
    name: text(nameOf),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  })
  .loose();

export const priority = z.int().min(0).max(1000);

/** What the API says of an egress rule's peers; `hasNamedPorts`: it names a port, which is a pod's alone. */
export function checkEgress(
  rule: { readonly action?: unknown; readonly to: readonly Peer[] },
  hasNamedPorts: boolean,
  context: z.RefinementCtx,
): void {
  const refuse = (path: (string | number)[], message: string) =>
    context.addIssue({ code: "custom", path: ["to", ...path], message });
  if (hasNamedPorts && rule.to.some(isWithoutPorts))
    refuse([], "networks, nodes and domain names have no named ports: name numbers, or make two rules");
  if (rule.action === "Deny" || rule.action === "Pass")
    for (const [i, { domainNames }] of rule.to.entries())
      if (domainNames) refuse([i, "domainNames"], `is only for rules that accept`);
}

const isWithoutPorts = ({ networks, nodes, domainNames }: Peer): boolean =>
  networks !== undefined || nodes !== undefined || domainNames !== undefined;

export type Peer = z.output<typeof egressPeer>;
export type ProtocolMatch = z.output<typeof protocolMatch>;

export interface AdminRule {
  readonly name?: string | undefined;
  readonly action: "Allow" | "Deny" | "Pass";
  /** Absent: anybody. */
  readonly peers?: readonly Peer[];
  readonly protocols?: readonly ProtocolMatch[] | undefined;
}

/** Where such a policy stands among ours. */
export interface AdminPlace {
  readonly name: string;
  readonly tier: "kube-admin" | "kube-baseline";
  /** Absent: after all others of its tier. */
  readonly order?: number | undefined;
}

export interface AdminPolicy extends AdminPlace {
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly subject: z.output<typeof subject>;
  readonly ingress: readonly AdminRule[];
  readonly egress: readonly AdminRule[];
}

/** Ours. One rule of ours for each peer and protocol; the name of a rule is kept as its annotation. */
export function adminPolicy(policy: AdminPolicy): object {
  const { name, labels, annotations, tier, order, ingress, egress } = policy;
  const types = [...(ingress.length > 0 ? ["Ingress"] : []), ...(egress.length > 0 ? ["Egress"] : [])];
  return {
    ...{ apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy" },
    metadata: { name, ...(labels && { labels }), ...(annotations && { annotations }) },
    spec: {
      ...{ tier, ...(order !== undefined && { order }), ...peerOf(policy.subject), types },
      ingress: ingress.flatMap((rule) => rulesOf(rule, "source")),
      egress: egress.flatMap((rule) => rulesOf(rule, "destination")),
    },
  };
}

/**
 * At its place, nothing passes to or from its pods in the directions that it has rules for; whatever of this cannot be read
 * is the widest: every pod, both directions.
 */
export function closedAdminPolicy(
  { name, tier, order }: AdminPlace,
  spec: Readonly<Record<string, unknown>>,
): object {
  const ruled = [spec.ingress, spec.egress].map((rules) => rules !== undefined && !isEmpty(rules));
  const [isIn, isOut] = ruled.includes(true) ? ruled : [true, true];
  const whom = subject.safeParse(spec.subject).data;
  const deny = [{ action: "Deny" }];
  return {
    ...{ apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy" },
    metadata: { name },
    spec: {
      ...{ tier, ...(order !== undefined && { order }) },
      ...(whom ? peerOf(whom) : { selector: podsOf({}) }),
      types: [...(isIn ? ["Ingress"] : []), ...(isOut ? ["Egress"] : [])],
      ...(isIn && { ingress: deny }),
      ...(isOut && { egress: deny }),
    },
  };
}

const isEmpty = (rules: unknown): boolean => Array.isArray(rules) && rules.length === 0;

function rulesOf({ name, action, peers, protocols }: AdminRule, side: "source" | "destination"): object[] {
  const groups = protocols ? groupsOf(protocols) : [{}];
  const annotated = name ? { metadata: { annotations: { name } } } : {};
  const entities = peers ? entitiesOf(peers) : [{}];
  return entities.flatMap((entity) =>
    groups.map(({ protocol, ports }: PortGroup) => {
      const destination = { ...(side === "destination" && entity), ...(ports && { ports }) };
      return {
        ...{ action, ...(protocol && { protocol }), ...annotated },
        ...(side === "source" && Object.keys(entity).length > 0 && { source: entity }),
        ...(Object.keys(destination).length > 0 && { destination }),
      };
    }),
  );
}

/** Networks of all peers share a rule, one for each family; all others take one each. */
function entitiesOf(peers: readonly Peer[]): object[] {
  const others = peers.filter(({ networks }) => !networks);
  return [
    ...others.map(({ nodes, domainNames, ...pods }) => {
      if (domainNames) return { domains: domainNames };
      return nodes ? { nodeSelector: canonical(selectorOf(nodes)) } : peerOf(pods);
    }),
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
