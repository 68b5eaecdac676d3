import type {
  BGPSettings,
  EndpointSlice,
  GlobalNetworkPolicy,
  GlobalNetworkSet,
  HostEndpoint,
  IPPool,
  Labels,
  NetworkPolicy,
  NetworkSet,
  Node,
  Profile,
  StagedGlobalNetworkPolicy,
  StagedKubernetesNetworkPolicy,
  StagedNetworkPolicy,
  Tier,
  WorkloadEndpoint,
} from "@margay/api";
import { ApiError, definitions, stagedForm } from "@margay/api";
import {
  type Address,
  formatAddress,
  formatPrefix,
  isPlainHost,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "@margay/net";
import type { Contribution } from "./active-sets.ts";
import { ofFormer, type PolicySource } from "./compile.ts";
import type { BareHostEndpoint } from "./host-endpoints.ts";
import { PORT_PROTOCOLS } from "./match.ts";
import type { Direction, Host, LocalEndpoint, Pool } from "./model.ts";
import type { TierSettings } from "./order.ts";
import type { Policy } from "./policy-table.ts";
import { NAMESPACE, SERVICE_ACCOUNT } from "./scope.ts";

/** What calc reads of each resource. All functions here are pure; NetError is thrown for text that api let through. */

export function readPolicy(resource: NetworkPolicy | GlobalNetworkPolicy): Policy {
  const { metadata, spec } = resource;
  const isNamespaced = resource.kind === "NetworkPolicy";
  const id = policyId(metadata.name, isNamespaced ? metadata.namespace : undefined);
  const namespace = isNamespaced ? { namespace: metadata.namespace ?? "" } : {};
  return {
    rank: {
      tier: spec.tier,
      name: metadata.name,
      id,
      ...(spec.order !== undefined && { order: spec.order }),
    },
    scope: { ...namespace, ...spec },
    directions: directionsOf(spec),
    ...stageOf(resource),
    source: {
      ...{ ...namespace, tier: spec.tier, ...rulesOf(resource, id) },
      ...(stageOf(resource).onForward && { isForForwarded: true }),
    },
  };
}

export const policyId = (name: string, namespace: string | undefined): string =>
  namespace !== undefined ? `np/${namespace}/${name}` : `gnp/${name}`;

export const profileId = (name: string): string => `profile/${name}`;

/** A policy whose resource cannot be read: whatever it may have selected, in both directions, is denied. */
export function unreadablePolicy(name: string, namespace: string | undefined, why: string): Policy {
  const id = policyId(name, namespace);
  return {
    // No tier can have this name, so the policy comes before all others.
    rank: { tier: "(unreadable)", name, id },
    scope: namespace !== undefined ? { namespace } : {},
    directions: ["ingress", "egress"],
    ...{ stage: "normal", onForward: true },
    source: { id, ingress: [], egress: [], problem: why },
  };
}

type StagedPolicy = StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy;

/** What a staged policy stages; undefined: nothing. */
export function readStaged(
  staged: StagedPolicy,
): { readonly instead: string; readonly policy: Policy | undefined } | undefined {
  const { stagedAction } = staged.spec;
  if (stagedAction === "Learn" || stagedAction === "Ignore") return undefined;
  const { kind, metadata } = staged;
  const name = kind === "StagedKubernetesNetworkPolicy" ? `knp.default.${metadata.name}` : metadata.name;
  const instead = policyId(name, kind === "StagedGlobalNetworkPolicy" ? undefined : metadata.namespace);
  if (stagedAction === "Delete") return { instead, policy: undefined };
  const form = staging(staged);
  if (!form) return undefined;
  const { rank, source, ...policy } = readPolicy(form);
  if (policy.stage !== "normal") return undefined;
  const id = stagedId(staged.kind, metadata.name, metadata.namespace);
  return {
    instead,
    policy: {
      ...policy,
      rank: { ...rank, id },
      source: { ...source, id, isStaged: true },
      staged: { instead },
    },
  };
}

/** Undefined: more than a policy can be, which nobody would enforce either. */
function staging(staged: StagedPolicy): ReturnType<typeof stagedForm> | undefined {
  try {
    return stagedForm(staged);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return undefined;
  }
}

/** Kubernetes' have an id of their own: one of ours may bear the name that it would get. */
export const stagedId = (kind: StagedPolicy["kind"], name: string, namespace: string | undefined): string =>
  kind === "StagedKubernetesNetworkPolicy"
    ? `staged/knp/${namespace}/${name}`
    : `staged/${policyId(name, kind === "StagedNetworkPolicy" ? namespace : undefined)}`;

function stageOf({ kind, spec }: NetworkPolicy | GlobalNetworkPolicy): Pick<Policy, "stage" | "onForward"> {
  if (kind === "NetworkPolicy") return { stage: "normal", onForward: false };
  const { doNotTrack, preDNAT, applyOnForward } = spec as GlobalNetworkPolicy["spec"]; // of the kind just asked
  return { stage: doNotTrack ? "untracked" : preDNAT ? "preDnat" : "normal", onForward: applyOnForward };
}

function directionsOf({ types, ingress, egress }: NetworkPolicy["spec"]): readonly Direction[] {
  if (types) return types.map((type) => (type === "Ingress" ? "ingress" : "egress"));
  if (!egress?.length) return ["ingress"];
  return ingress?.length ? ["ingress", "egress"] : ["egress"];
}

function rulesOf(
  { metadata, spec }: NetworkPolicy | GlobalNetworkPolicy | Profile,
  id: string,
): PolicySource {
  const revision = metadata.resourceVersion !== undefined ? { revision: metadata.resourceVersion } : {};
  return { id, ingress: spec.ingress ?? [], egress: spec.egress ?? [], ...revision };
}

export const readProfile = (profile: Profile): PolicySource =>
  rulesOf(profile, profileId(profile.metadata.name));

export const readTier = ({ spec }: Tier): TierSettings => ({
  ...(spec.order !== undefined && { order: spec.order }),
  defaultAction: spec.defaultAction === "Pass" ? "pass" : "deny",
});

/** Own labels, with those that only the cluster may set: a pod cannot claim another namespace or service account. */
export function endpointLabels({ metadata, spec }: WorkloadEndpoint): Labels {
  return {
    ...unclaimed(metadata.labels ?? {}),
    [NAMESPACE]: metadata.namespace ?? "",
    "projectcalico.org/orchestrator": spec.orchestrator,
    ...(spec.serviceAccountName !== undefined && { [SERVICE_ACCOUNT]: spec.serviceAccountName }),
  };
}

function unclaimed(labels: Labels): Labels {
  if (!Object.hasOwn(labels, SERVICE_ACCOUNT)) return labels;
  const { [SERVICE_ACCOUNT]: _claimed, ...own } = labels;
  return own;
}

export function networkSetLabels({ kind, metadata }: NetworkSet | GlobalNetworkSet): Labels {
  const { [NAMESPACE]: _claimed, ...labels } = metadata.labels ?? {};
  return kind === "NetworkSet" ? { ...labels, [NAMESPACE]: metadata.namespace ?? "" } : labels;
}

export function endpointContribution({ spec }: WorkloadEndpoint | HostEndpoint): Contribution {
  const addresses = "ipNetworks" in spec ? spec.ipNetworks : spec.expectedIPs;
  const ports = spec.ports?.map(({ name, protocol, port }) => ({
    name,
    port,
    protocol: portProtocol(protocol),
  }));
  return { nets: canonical(addresses), ports: ports ?? NONE };
}

const NONE: readonly never[] = [];

export const networkSetContribution = ({ spec }: NetworkSet | GlobalNetworkSet): Contribution => ({
  nets: canonical(spec.nets),
  ports: NONE,
});

export const sliceContribution = ({ spec }: EndpointSlice): Contribution => ({
  among: "services",
  nets: canonical(spec.endpoints.flatMap(({ addresses }) => addresses)),
  ports: spec.ports.map(({ name = "", protocol, port }) => ({
    name,
    port,
    protocol: portProtocol(protocol),
  })),
});

export const nodeContribution = (node: Node): Contribution => ({
  among: "nodes",
  nets: canonical(readHost(node).addresses.map(formatAddress)),
  ports: NONE,
});

const portProtocol = (protocol: string | number): string =>
  typeof protocol === "number" ? (PORT_PROTOCOLS[protocol] ?? String(protocol)) : protocol.toLowerCase();

/** What is written so already, as almost all is, stays the same array. */
const canonical = (nets: readonly string[]): readonly string[] =>
  nets.every(isPlainHost) ? nets : nets.map((net) => formatPrefix(parsePrefix(net, { mask: true })));

/** An endpoint of this node, all but what policies and profiles say about it. */
export function readEndpoint(id: string, { spec }: WorkloadEndpoint): Omit<LocalEndpoint, Direction | "ok"> {
  return {
    id,
    interfaceName: spec.interfaceName,
    addresses: spec.ipNetworks.map((net) => hostOf(net)),
    ...(spec.mac !== undefined && { mac: spec.mac.toLowerCase() }),
    spoofable: (spec.allowSpoofedSourcePrefixes ?? []).map((net) => parsePrefix(net, { mask: true })),
    ...packetRateOf(spec.qosControls),
    ...connectionLimitOf(spec.qosControls),
    ...(spec.qosControls?.dscp !== undefined && { dscp: spec.qosControls.dscp }),
    profiles: spec.profiles,
  };
}

export const hostEndpointId = (name: string): string => `hep:${name}`;

/** A host endpoint of this node, all but what policies and profiles say about it. */
export const readHostEndpoint = ({ metadata, spec }: HostEndpoint): BareHostEndpoint => ({
  id: hostEndpointId(metadata.name),
  ...(spec.interfaceName !== undefined && { interfaceName: spec.interfaceName }),
  expected: spec.expectedIPs.map((text) => parseAddress(text)),
  profiles: spec.profiles,
  ...outdatedOf(spec),
});

function outdatedOf(spec: HostEndpoint["spec"]): Pick<BareHostEndpoint, "outdated"> {
  const [issue] = definitions.HostEndpoint.outdated?.(spec) ?? [];
  return issue ? { outdated: ofFormer(issue) } : {};
}

/** A host endpoint is in no namespace, and has no service account, whatever it says. */
export function hostEndpointLabels({ metadata }: HostEndpoint): Labels {
  const { [NAMESPACE]: _namespace, [SERVICE_ACCOUNT]: _account, ...labels } = metadata.labels ?? {};
  return labels;
}

/** Calico's burst (calico.md §1.7). */
const USUAL_PACKET_BURST = 5;

function packetRateOf(qos: WorkloadEndpoint["spec"]["qosControls"]): Pick<LocalEndpoint, "packetRate"> {
  const { ingressPacketRate, egressPacketRate } = qos ?? {};
  if (ingressPacketRate === undefined && egressPacketRate === undefined) return {};
  const limit = (direction: Direction, perSecond: number | undefined, burst = USUAL_PACKET_BURST) =>
    perSecond !== undefined && { [direction]: { perSecond, burst } };
  return {
    packetRate: {
      ...limit("ingress", ingressPacketRate, qos?.ingressPacketBurst),
      ...limit("egress", egressPacketRate, qos?.egressPacketBurst),
    },
  };
}

function connectionLimitOf(
  qos: WorkloadEndpoint["spec"]["qosControls"],
): Pick<LocalEndpoint, "connectionLimit"> {
  const { ingressMaxConnections: ingress, egressMaxConnections: egress } = qos ?? {};
  if (ingress === undefined && egress === undefined) return {};
  return { connectionLimit: { ...(ingress && { ingress }), ...(egress && { egress }) } };
}

/** The address in `a.b.c.d` or `a.b.c.d/n`. */
export const hostOf = (text: string): Address => parseAddress(text.split("/")[0] ?? text);

export const readPool = ({ metadata, spec }: IPPool): Pool => ({
  name: metadata.name,
  cidr: parsePrefix(spec.cidr),
  natOutgoing: spec.natOutgoing,
  vxlanMode: spec.vxlanMode,
});

export function readHost({ metadata, spec }: Node): Host {
  const texts = [
    spec.bgp?.ipv4Address,
    spec.bgp?.ipv6Address,
    ...(spec.addresses ?? []).map(({ address }) => address),
  ];
  const unique = new Map(
    texts
      .filter((text) => text !== undefined)
      .map(hostOf)
      .map((a) => [formatAddress(a), a]),
  );
  return { name: metadata.name, addresses: [...unique.values()] };
}

/** The block of an affinity that `node` holds for certain. */
export const ownBlock = (
  spec: { node: string; state: string; cidr: string },
  node: string,
): Prefix | undefined =>
  spec.node === node && spec.state === "confirmed" ? parsePrefix(spec.cidr) : undefined;

/** All ranges of service addresses that BGP announces. */
export const serviceRanges = (settings: BGPSettings): readonly Prefix[] =>
  [settings.serviceClusterIPs, settings.serviceExternalIPs, settings.serviceLoadBalancerIPs].flatMap(
    (ranges) => (ranges ?? []).map(({ cidr }) => parsePrefix(cidr, { mask: true })),
  );
