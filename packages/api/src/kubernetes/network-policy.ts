import { contains } from "@margay/net";
import * as z from "zod";
import { prefixIn, sloppyNet } from "../fields/addresses.ts";
import { nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { and, type Selector } from "../selector/ast.ts";
import { canonical } from "../selector/canonical.ts";
import { type LabelSelector, labelSelector, selectorOf } from "./label-selector.ts";
import type { RefusedObject } from "./refused.ts";
import { storedName } from "./stored-name.ts";

/** networking.k8s.io/v1 NetworkPolicy, as its API reference describes it. */

const ipBlock = z
  .object({
    cidr: sloppyNet().describe("A network."),
    except: z.array(sloppyNet()).optional().describe("Networks within it that are not meant."),
  })
  .superRefine(({ cidr, except = [] }, context) => {
    const range = prefixIn(cidr);
    for (const [i, value] of except.entries()) {
      const hole = prefixIn(value);
      if (range && hole && !(contains(range, hole) && hole.length > range.length))
        context.addIssue({
          code: "custom",
          path: ["except", i],
          message: `must be strictly within ${cidr}, found ${value}`,
        });
    }
  });

const peer = z
  .object({
    podSelector: labelSelector.optional().describe("Pods, by label; of the policy's own namespace if alone."),
    namespaceSelector: labelSelector.optional().describe("Namespaces, by label."),
    ipBlock: ipBlock.optional().describe("A network; not beside selectors."),
  })
  .superRefine(({ podSelector, namespaceSelector, ipBlock }, context) => {
    if (!podSelector && !namespaceSelector && !ipBlock)
      context.addIssue({ code: "custom", message: "must have podSelector, namespaceSelector or ipBlock" });
    if (ipBlock && (podSelector || namespaceSelector))
      context.addIssue({
        code: "custom",
        path: ["ipBlock"],
        message: "must be absent beside podSelector and namespaceSelector",
      });
  });

const PORT_RULE = "must be a port 1 to 65535 or the name of one";

const port = z
  .object({
    protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP").describe("Protocol of the port."),
    port: z
      .union(
        [z.int().min(1).max(65535), z.string().regex(/^(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/)],
        { error: PORT_RULE },
      )
      .meta({ intOrString: true })
      .optional()
      .describe("A port's number, or its name in the pod; all when absent."),
    endPort: z.int().min(1).max(65535).optional().describe("The last port of a range that begins at `port`."),
  })
  .superRefine(({ port, endPort }, context) => {
    if (endPort === undefined || (typeof port === "number" && port <= endPort)) return;
    const message =
      typeof port === "number" ? `must be at least \`port\` (${port})` : "needs a numeric `port` beside it";
    context.addIssue({ code: "custom", path: ["endPort"], message });
  });

const ports = z.array(port).optional().describe("Ports; all when absent.");
const peers = z.array(peer).optional();
const from = peers.describe("Where packets come from; anywhere when absent.");
const to = peers.describe("Where packets go; anywhere when absent.");

export const kubernetesPolicySpec = z.object({
  podSelector: labelSelector.prefault({}).describe("Pods of the namespace that the policy applies to."),
  policyTypes: z
    .array(z.enum(["Ingress", "Egress"]))
    .optional()
    .describe("Directions: [Ingress] when absent, and Egress too if there are egress rules."),
  ingress: z.array(z.object({ from, ports })).optional().describe("What pods may receive."),
  egress: z.array(z.object({ to, ports })).optional().describe("What pods may send."),
});

export const kubernetesNetworkPolicy = z.object({
  apiVersion: z.literal("networking.k8s.io/v1"),
  kind: z.literal("NetworkPolicy"),
  metadata: z
    .object({
      name: text(nameOf),
      namespace: text(nameOf).default("default"),
      labels: z.record(z.string(), z.string()).optional(),
      annotations: z.record(z.string(), z.string()).optional(),
    })
    .loose(),
  spec: kubernetesPolicySpec,
  status: z.unknown().optional(),
});

type KubernetesPolicy = z.output<typeof kubernetesNetworkPolicy>;
type Peer = z.output<typeof peer>;
type Port = z.output<typeof port>;

/** Where policies from Kubernetes stand among those of the tier `default` (calico.md §1.9). */
const ORDER = 1000;
/** A rule names at most so many ports and networks (calico.md §1.9). */
const MAX_PORTS = 50;
const MAX_NETS = 256;

/** Network sets have no orchestrator: a pod selector of Kubernetes selects pods only. */
const IS_POD: Selector = { kind: "equals", label: "projectcalico.org/orchestrator", value: "k8s" };

/**
 * A Kubernetes policy as a NetworkPolicy `knp.default.<name>` of tier `default` (calico.md §4.3). What Kubernetes leaves
 * open is kept apart as it demands: an absent or empty list of peers or ports allows all, an absent or empty list of
 * rules allows nothing.
 */
export function networkPolicyFrom({ metadata, spec }: KubernetesPolicy): object {
  const types = spec.policyTypes?.length
    ? spec.policyTypes
    : spec.egress?.length
      ? ["Ingress", "Egress"]
      : ["Ingress"];
  const { name, namespace, labels, annotations } = metadata;
  return {
    apiVersion: "margay.dev/v1",
    kind: "NetworkPolicy",
    metadata: {
      name: networkPolicyName(name),
      namespace,
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    },
    spec: {
      tier: "default",
      order: ORDER,
      selector: podsOf(spec.podSelector),
      types,
      ...(types.includes("Ingress") && {
        ingress: (spec.ingress ?? []).flatMap(({ from, ports }) => allow("source", from, ports)),
      }),
      ...(types.includes("Egress") && {
        egress: (spec.egress ?? []).flatMap(({ to, ports }) => allow("destination", to, ports)),
      }),
    },
  };
}

export const networkPolicyName = (name: string): string => storedName("knp.default.", name);

/** Nothing passes to or from its pods that only it would have let through; other policies of theirs still allow. */
export const closedNetworkPolicy = ({ metadata, spec }: RefusedObject): object => ({
  ...{ apiVersion: "margay.dev/v1", kind: "NetworkPolicy" },
  metadata: { name: networkPolicyName(metadata.name), namespace: metadata.namespace },
  spec: {
    ...{ tier: "default", order: ORDER, types: ["Ingress", "Egress"] },
    selector: podsOf(labelSelector.safeParse(spec.podSelector).data ?? {}),
  },
});

/** The selector of pods, and of nothing else. */
export const podsOf = (selector: LabelSelector): string =>
  canonical(and([IS_POD, selectorOf(selector)].filter((s) => s.kind !== "all")));

/** One rule per peer and group of ports: both must match. */
function allow(
  side: "source" | "destination",
  peers: readonly Peer[] = [],
  ports: readonly Port[] = [],
): object[] {
  const entities = peers.length ? entitiesOf(peers) : [{}];
  const groups = ports.length ? portGroups(ports) : [{}];
  return entities.flatMap((entity) =>
    groups.map(({ protocol, ports }) => {
      const destination = { ...(side === "destination" && entity), ...(ports && { ports }) };
      return {
        action: "Allow",
        ...(protocol && { protocol }),
        ...(side === "source" && Object.keys(entity).length && { source: entity }),
        ...(Object.keys(destination).length && { destination }),
      };
    }),
  );
}

/** Blocks without exceptions share a rule, one per family; all others take one each. */
function entitiesOf(peers: readonly Peer[]): object[] {
  const plain = peers.flatMap(({ ipBlock }) => (ipBlock && !ipBlock.except?.length ? [ipBlock.cidr] : []));
  const others = peers.filter(({ ipBlock }) => !ipBlock || ipBlock.except?.length);
  return [...others.map(entity), ...networkEntities(plain)];
}

/** A rule names networks of one family, and not too many. */
export function networkEntities(nets: readonly string[]): { nets: string[] }[] {
  const families = [nets.filter((cidr) => !cidr.includes(":")), nets.filter((cidr) => cidr.includes(":"))];
  return families.flatMap((its) => chunks(its, MAX_NETS)).map((its) => ({ nets: its }));
}

/** Without a namespaceSelector the policy's own namespace is meant; without a podSelector all pods. */
function entity({ podSelector, namespaceSelector, ipBlock }: Peer): object {
  if (ipBlock) return { nets: [ipBlock.cidr], ...(ipBlock.except?.length && { notNets: ipBlock.except }) };
  return {
    selector: podsOf(podSelector ?? {}),
    ...(namespaceSelector && { namespaceSelector: canonical(selectorOf(namespaceSelector)) }),
  };
}

/** Ports by protocol, as many as a rule may hold; a port entry without number means every port of its protocol. */
function portGroups(ports: readonly Port[]): PortGroup[] {
  const text = ({ port, endPort }: Port) =>
    port === undefined || endPort === undefined || endPort === port ? port : `${port}:${endPort}`;
  return portsByProtocol(ports.map((port) => ({ protocol: port.protocol, port: text(port) })));
}

export interface PortGroup {
  readonly protocol?: string;
  readonly ports?: (number | string)[];
}

/** One group for each protocol that is named, more if a rule cannot hold its ports; no port means all of them. */
export function portsByProtocol(
  all: readonly { readonly protocol: string; readonly port: number | string | undefined }[],
): PortGroup[] {
  return ["TCP", "UDP", "SCTP"].flatMap((protocol) => {
    const own = all.filter((one) => one.protocol === protocol).map(({ port }) => port);
    if (own.includes(undefined)) return [{ protocol }];
    return chunks(
      own.filter((port) => port !== undefined),
      MAX_PORTS,
    ).map((ports) => ({ protocol, ports }));
  });
}

const chunks = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
