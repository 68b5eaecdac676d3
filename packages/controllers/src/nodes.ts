import { ApiError, type Node, parse } from "@margay/api";
import type { KubernetesObject } from "@margay/kubernetes";
import { NetError, parseAddress } from "@margay/net";
import { MADE_FROM } from "./mark.ts";

/** The mark of Nodes made from Kubernetes' nodes. */
export const FROM_NODE = "v1 Node";

/** What of a Kubernetes node the datastore's Node follows. */
export interface NodeFacts {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly asNumber: string | undefined;
  readonly clusterID: string | undefined;
  readonly addresses: readonly { readonly address: string; readonly type: "InternalIP" | "ExternalIP" }[];
  readonly podCIDRs: readonly string[];
}

/** Annotations, Calico's and ours; ours win. */
const AS_NUMBER = ["margay.dev/as-number", "projectcalico.org/ASNumber"] as const;
const CLUSTER_ID = [
  "margay.dev/route-reflector-cluster-id",
  "projectcalico.org/RouteReflectorClusterID",
] as const;
/** Of reflectors whose label says no cluster; the one that Calico's documentation uses. */
const DEFAULT_CLUSTER_ID = "244.0.0.1";

/** `reflectorLabel` makes a node a route reflector; its value is the cluster, or anything. */
export function nodeFacts({ metadata, ...object }: KubernetesObject, reflectorLabel: string): NodeFacts {
  const { name, labels = {}, annotations = {} } = metadata;
  const annotated = (names: readonly string[]) =>
    names.map((one) => annotations[one]).find((value) => value !== undefined);
  const { addresses = [] } = (object.status ?? {}) as { addresses?: { type: string; address: string }[] };
  const { podCIDR, podCIDRs = podCIDR ? [podCIDR] : [] } = (object.spec ?? {}) as {
    podCIDR?: string;
    podCIDRs?: string[];
  };
  const reflects = labels[reflectorLabel];
  const labelled = reflects !== undefined && (familyOf(reflects) === 4 ? reflects : DEFAULT_CLUSTER_ID);
  return {
    ...{ name, labels, podCIDRs },
    asNumber: annotated(AS_NUMBER),
    clusterID: annotated(CLUSTER_ID) ?? (labelled || undefined),
    addresses: addresses.flatMap(({ type, address }) =>
      (type === "InternalIP" || type === "ExternalIP") && familyOf(address) ? [{ address, type }] : [],
    ),
  };
}

/**
 * The Node as it should be. What the agent found out itself (its address with the subnet, tunnel addresses) stays; until it
 * has, the node's InternalIP stands alone.
 * @returns also why annotations were not understood, if so; the Node is then without them
 */
export function nodeResource(facts: NodeFacts, now: Node | undefined): { node: Node; refused?: string } {
  const status = (now?.status ?? {}) as object; // a status has no schema
  const document = (said: Partial<NodeFacts>) => ({
    ...{ apiVersion: "margay.dev/v1", kind: "Node" },
    metadata: {
      name: facts.name,
      labels: facts.labels,
      annotations: { ...now?.metadata.annotations, [MADE_FROM]: FROM_NODE },
    },
    spec: { ...now?.spec, ...specOf(facts, said, now) },
    status: { ...status, podCIDRs: facts.podCIDRs },
  });
  try {
    return { node: parse(document(facts)).resource as Node };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const refused = error.issues.map(({ path, message }) => `${path} ${message}`).join("; ");
    return { node: parse(document({})).resource as Node, refused };
  }
}

function specOf(facts: NodeFacts, { asNumber, clusterID }: Partial<NodeFacts>, now: Node | undefined) {
  const former = now?.spec.bgp;
  const ipv4Address = own(facts, 4, former?.ipv4Address);
  const ipv6Address = own(facts, 6, former?.ipv6Address);
  const others = (now?.spec.addresses ?? []).filter(({ type }) => type === "CalicoNodeIP");
  const bgp = {
    ...(former?.ipv4IPIPTunnelAddr && { ipv4IPIPTunnelAddr: former.ipv4IPIPTunnelAddr }),
    ...(ipv4Address && { ipv4Address }),
    ...(ipv6Address && { ipv6Address }),
    ...(asNumber !== undefined && { asNumber }),
    ...(clusterID !== undefined && { routeReflectorClusterID: clusterID }),
  };
  return {
    bgp: ipv4Address || ipv6Address ? bgp : undefined,
    orchRefs: [{ orchestrator: "k8s", nodeName: facts.name }],
    addresses: [...others, ...facts.addresses],
  };
}

/** The agent's word, with its subnet; a lone address was ours and follows Kubernetes. */
function own(facts: NodeFacts, family: 4 | 6, former: string | undefined): string | undefined {
  const alone = family === 4 ? "/32" : "/128";
  if (former && !former.endsWith(alone)) return former;
  const internal = facts.addresses.find(
    ({ type, address }) => type === "InternalIP" && familyOf(address) === family,
  );
  return internal ? internal.address + alone : former;
}

function familyOf(text: string): 4 | 6 | undefined {
  try {
    return parseAddress(text).family;
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}
