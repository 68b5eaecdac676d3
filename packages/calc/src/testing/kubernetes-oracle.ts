/**
 * What Kubernetes' policies mean, read from the documents themselves by the words of their API references: no conversion, selector,
 * set or tier of Margay's is used. Slow and naive on purpose. NetworkPolicy v1 and ClusterNetworkPolicy v1alpha2.
 */
export interface OraclePod {
  readonly namespace: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

export interface OracleCluster {
  /** Labels by name. */
  readonly namespaces: Readonly<Record<string, Labels>>;
  readonly nodes: readonly { readonly labels: Labels; readonly address: string }[];
  readonly pods: readonly OraclePod[];
  readonly networkPolicies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
}

export interface OraclePacket {
  readonly source: string;
  readonly destination: string;
  /** TCP, UDP, SCTP, or another that has no ports. */
  readonly protocol: string;
  readonly port: number;
}

type Labels = Readonly<Record<string, string>>;
interface Selector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    readonly values?: readonly string[];
  }[];
}
interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
interface Port {
  readonly protocol?: string;
  readonly port?: number | string;
  readonly endPort?: number;
}
export interface NetworkPolicy {
  readonly namespace: string;
  readonly spec: {
    readonly podSelector: Selector;
    readonly policyTypes?: readonly string[];
    readonly ingress?: readonly { readonly from?: readonly Peer[]; readonly ports?: readonly Port[] }[];
    readonly egress?: readonly { readonly to?: readonly Peer[]; readonly ports?: readonly Port[] }[];
  };
}
interface AdminPods {
  readonly namespaces?: Selector;
  readonly pods?: { readonly namespaceSelector?: Selector; readonly podSelector?: Selector };
}
interface AdminPeer extends AdminPods {
  readonly nodes?: Selector;
  readonly networks?: readonly string[];
}
type AdminProtocol = Readonly<
  Record<
    string,
    string | { readonly destinationPort?: { number?: number; range?: { start: number; end: number } } }
  >
>;
interface AdminRule {
  readonly action: "Accept" | "Deny" | "Pass";
  readonly from?: readonly AdminPeer[];
  readonly to?: readonly AdminPeer[];
  readonly protocols?: readonly AdminProtocol[];
}
export interface ClusterPolicy {
  readonly tier: "Admin" | "Baseline";
  /** No two of a tier are equal. */
  readonly priority: number;
  readonly subject: AdminPods;
  readonly ingress?: readonly AdminRule[];
  readonly egress?: readonly AdminRule[];
}

type Way = "ingress" | "egress";

/** Whether a new flow is let through: by the sender's egress, if it is a pod, and the receiver's ingress, if that is one. */
export function isAllowedBy(cluster: OracleCluster, packet: OraclePacket): boolean {
  const [from, to] = [packet.source, packet.destination].map((address) =>
    cluster.pods.find(({ addresses }) => addresses.includes(address)),
  );
  return (
    (!from || decides(cluster, { ...packet, own: from, way: "egress" })) &&
    (!to || decides(cluster, { ...packet, own: to, way: "ingress" }))
  );
}

interface Asked extends OraclePacket {
  readonly own: OraclePod;
  readonly way: Way;
}

/** Admin policies, then NetworkPolicies if any isolates the pod, then the baseline's, then allowed. */
function decides(cluster: OracleCluster, asked: Asked): boolean {
  const admin = adminAction(cluster, asked, "Admin");
  if (admin !== undefined) return admin;
  const isolating = cluster.networkPolicies.filter((policy) => isolates(policy, asked));
  if (isolating.length > 0) return isolating.some((policy) => lets(cluster, policy, asked));
  return adminAction(cluster, asked, "Baseline") ?? true;
}

/** policyTypes: Ingress always if absent, Egress if there are egress rules. */
function isolates({ namespace, spec }: NetworkPolicy, { own, way }: Asked): boolean {
  const types = spec.policyTypes?.length
    ? spec.policyTypes
    : ["Ingress", ...(spec.egress?.length ? ["Egress"] : [])];
  const type = way === "ingress" ? "Ingress" : "Egress";
  return namespace === own.namespace && types.includes(type) && selects(spec.podSelector, own.labels);
}

function lets(cluster: OracleCluster, { namespace, spec }: NetworkPolicy, asked: Asked): boolean {
  const rules =
    asked.way === "ingress"
      ? (spec.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports }))
      : (spec.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
  return rules.some(
    ({ peers, ports }) =>
      (!peers?.length || peers.some((peer) => isPeer(cluster, peer, { ...asked, namespace }))) &&
      (!ports?.length || ports.some((port) => isPort(cluster, port, asked))),
  );
}

const farOf = ({ way, source, destination }: Asked): string => (way === "ingress" ? source : destination);
const podAt = ({ pods }: OracleCluster, address: string): OraclePod | undefined =>
  pods.find(({ addresses }) => addresses.includes(address));

function isPeer(
  cluster: OracleCluster,
  { ipBlock, podSelector, namespaceSelector }: Peer,
  asked: Asked & { readonly namespace: string },
): boolean {
  const far = farOf(asked);
  if (ipBlock) return within(far, ipBlock.cidr) && !(ipBlock.except ?? []).some((hole) => within(far, hole));
  const pod = podAt(cluster, far);
  if (!pod || !selects(podSelector ?? {}, pod.labels)) return false;
  if (!namespaceSelector) return pod.namespace === asked.namespace;
  return selects(namespaceSelector, cluster.namespaces[pod.namespace] ?? {});
}

function isPort(cluster: OracleCluster, { protocol = "TCP", port, endPort }: Port, asked: Asked): boolean {
  if (protocol !== asked.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === "string") return isNamed(cluster, port, asked);
  return asked.port >= port && asked.port <= (endPort ?? port);
}

/** A name is that of a port of the pod that the packet goes to. */
const isNamed = (cluster: OracleCluster, name: string, { destination, protocol, port }: Asked): boolean =>
  podAt(cluster, destination)?.ports.some(
    (one) => one.name === name && one.protocol === protocol && one.port === port,
  ) ?? false;

/** By priority, rule by rule: the first that matches decides, Pass leaves the tier. */
function adminAction(cluster: OracleCluster, asked: Asked, tier: ClusterPolicy["tier"]): boolean | undefined {
  const policies = cluster.clusterPolicies
    .filter((policy) => policy.tier === tier && isAdminPod(cluster, policy.subject, asked.own))
    .toSorted((a, b) => a.priority - b.priority);
  const first = policies
    .flatMap((policy) => policy[asked.way] ?? [])
    .find((rule) => matchesAdmin(cluster, rule, asked));
  if (!first || first.action === "Pass") return undefined;
  return first.action === "Accept";
}

function isAdminPod(cluster: OracleCluster, { namespaces, pods }: AdminPods, pod: OraclePod): boolean {
  const selector = namespaces ?? pods?.namespaceSelector ?? {};
  return (
    selects(selector, cluster.namespaces[pod.namespace] ?? {}) && selects(pods?.podSelector ?? {}, pod.labels)
  );
}

function matchesAdmin(cluster: OracleCluster, { from, to, protocols }: AdminRule, asked: Asked): boolean {
  const far = farOf(asked);
  const isMeant = (from ?? to ?? []).some(({ nodes, networks, ...pods }) => {
    if (networks) return networks.some((net) => within(far, net));
    if (nodes) return cluster.nodes.some(({ address, labels }) => address === far && selects(nodes, labels));
    const pod = podAt(cluster, far);
    return pod !== undefined && isAdminPod(cluster, pods, pod);
  });
  return isMeant && (!protocols || protocols.some((one) => isAdminProtocol(cluster, one, asked)));
}

function isAdminProtocol(cluster: OracleCluster, match: AdminProtocol, asked: Asked): boolean {
  const [[field, value] = []] = Object.entries(match);
  if (typeof value === "string") return isNamed(cluster, value, asked);
  if (field?.toUpperCase() !== asked.protocol) return false;
  const { number, range } = value?.destinationPort ?? {};
  if (number !== undefined) return asked.port === number;
  return !range || (asked.port >= range.start && asked.port <= range.end);
}

/** meta/v1 LabelSelector: NotIn holds also of what does not bear the label. */
function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const has = Object.hasOwn(labels, key);
      if (operator === "Exists") return has;
      if (operator === "DoesNotExist") return !has;
      const isIn = has && values.includes(labels[key] ?? "");
      return operator === "In" ? isIn : !isIn;
    })
  );
}

/** Bit by bit. */
function within(address: string, cidr: string): boolean {
  const [net = "", length = ""] = cidr.split("/");
  const [a, b] = [bitsOf(address), bitsOf(net)];
  return a.length === b.length && a.slice(0, Number(length)) === b.slice(0, Number(length));
}

function bitsOf(address: string): string {
  const binary = (digits: readonly string[], radix: number, width: number) =>
    digits.map((digit) => Number.parseInt(digit, radix).toString(2).padStart(width, "0")).join("");
  if (!address.includes(":")) return binary(address.split("."), 10, 8);
  const [head = [], tail = []] = address.split("::").map((half) => (half ? half.split(":") : []));
  return binary([...head, ...Array<string>(8 - head.length - tail.length).fill("0"), ...tail], 16, 16);
}
