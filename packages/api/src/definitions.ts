import type { Definition, Resource } from "./resource.ts";
import { type BGPConfigurationSpec, bgpConfiguration } from "./resources/bgp-configuration.ts";
import { type BGPFilterSpec, bgpFilter } from "./resources/bgp-filter.ts";
import { type BGPPeerSpec, bgpPeer } from "./resources/bgp-peer.ts";
import { type ClusterInformationSpec, clusterInformation } from "./resources/cluster-information.ts";
import { type EndpointSliceSpec, endpointSlice } from "./resources/endpoint-slice.ts";
import { type FelixConfigurationSpec, felixConfiguration } from "./resources/felix-configuration.ts";
import { type HostEndpointSpec, hostEndpoint } from "./resources/host-endpoint.ts";
import { type IPPoolSpec, ipPool } from "./resources/ip-pool.ts";
import { type IPReservationSpec, ipReservation } from "./resources/ip-reservation.ts";
import {
  type BlockAffinitySpec,
  blockAffinityDefinition,
  type IPAMBlockSpec,
  type IPAMConfigurationSpec,
  ipamBlockDefinition,
  ipamConfigurationDefinition,
} from "./resources/ipam.ts";
import {
  type GlobalNetworkSetSpec,
  globalNetworkSet,
  type NetworkSetSpec,
  networkSet,
} from "./resources/network-set.ts";
import { type NodeSpec, node } from "./resources/node.ts";
import {
  type GlobalNetworkPolicySpec,
  globalNetworkPolicy,
  type NetworkPolicySpec,
  networkPolicy,
} from "./resources/policy.ts";
import { type ProfileSpec, profile } from "./resources/profile.ts";
import { type ServiceSpec, service } from "./resources/service.ts";
import {
  type StagedGlobalNetworkPolicySpec,
  type StagedKubernetesNetworkPolicySpec,
  type StagedNetworkPolicySpec,
  stagedGlobalNetworkPolicy,
  stagedKubernetesNetworkPolicy,
  stagedNetworkPolicy,
} from "./resources/staged-policy.ts";
import { type TierSpec, tierDefinition } from "./resources/tier.ts";
import { type WorkloadEndpointSpec, workloadEndpoint } from "./resources/workload-endpoint.ts";

interface Specs {
  readonly Node: NodeSpec;
  readonly IPPool: IPPoolSpec;
  readonly IPReservation: IPReservationSpec;
  readonly BGPConfiguration: BGPConfigurationSpec;
  readonly BGPPeer: BGPPeerSpec;
  readonly BGPFilter: BGPFilterSpec;
  readonly WorkloadEndpoint: WorkloadEndpointSpec;
  readonly HostEndpoint: HostEndpointSpec;
  readonly NetworkPolicy: NetworkPolicySpec;
  readonly GlobalNetworkPolicy: GlobalNetworkPolicySpec;
  readonly StagedNetworkPolicy: StagedNetworkPolicySpec;
  readonly StagedGlobalNetworkPolicy: StagedGlobalNetworkPolicySpec;
  readonly StagedKubernetesNetworkPolicy: StagedKubernetesNetworkPolicySpec;
  readonly Tier: TierSpec;
  readonly Profile: ProfileSpec;
  readonly NetworkSet: NetworkSetSpec;
  readonly GlobalNetworkSet: GlobalNetworkSetSpec;
  readonly EndpointSlice: EndpointSliceSpec;
  readonly Service: ServiceSpec;
  readonly BlockAffinity: BlockAffinitySpec;
  readonly IPAMBlock: IPAMBlockSpec;
  readonly IPAMConfiguration: IPAMConfigurationSpec;
  readonly FelixConfiguration: FelixConfigurationSpec;
  readonly ClusterInformation: ClusterInformationSpec;
}

export type Kind = keyof Specs;
export type ResourceOf<K extends Kind> = Resource<K, Specs[K]>;
/** A resource of any kind; `kind` tells which. */
export type AnyResource = { [K in Kind]: ResourceOf<K> }[Kind];

export type Node = ResourceOf<"Node">;
export type IPPool = ResourceOf<"IPPool">;
export type IPReservation = ResourceOf<"IPReservation">;
export type BGPConfiguration = ResourceOf<"BGPConfiguration">;
export type BGPPeer = ResourceOf<"BGPPeer">;
export type BGPFilter = ResourceOf<"BGPFilter">;
export type WorkloadEndpoint = ResourceOf<"WorkloadEndpoint">;
export type HostEndpoint = ResourceOf<"HostEndpoint">;
export type NetworkPolicy = ResourceOf<"NetworkPolicy">;
export type GlobalNetworkPolicy = ResourceOf<"GlobalNetworkPolicy">;
export type StagedNetworkPolicy = ResourceOf<"StagedNetworkPolicy">;
export type StagedGlobalNetworkPolicy = ResourceOf<"StagedGlobalNetworkPolicy">;
export type StagedKubernetesNetworkPolicy = ResourceOf<"StagedKubernetesNetworkPolicy">;
export type Tier = ResourceOf<"Tier">;
export type Profile = ResourceOf<"Profile">;
export type NetworkSet = ResourceOf<"NetworkSet">;
export type GlobalNetworkSet = ResourceOf<"GlobalNetworkSet">;
export type EndpointSlice = ResourceOf<"EndpointSlice">;
export type Service = ResourceOf<"Service">;
export type BlockAffinity = ResourceOf<"BlockAffinity">;
export type IPAMBlock = ResourceOf<"IPAMBlock">;
export type IPAMConfiguration = ResourceOf<"IPAMConfiguration">;
export type FelixConfiguration = ResourceOf<"FelixConfiguration">;
export type ClusterInformation = ResourceOf<"ClusterInformation">;

/** Every kind Margay knows. */
export const definitions: { readonly [K in Kind]: Definition<K, Specs[K]> } = {
  Node: node,
  IPPool: ipPool,
  IPReservation: ipReservation,
  BGPConfiguration: bgpConfiguration,
  BGPPeer: bgpPeer,
  BGPFilter: bgpFilter,
  WorkloadEndpoint: workloadEndpoint,
  HostEndpoint: hostEndpoint,
  NetworkPolicy: networkPolicy,
  GlobalNetworkPolicy: globalNetworkPolicy,
  StagedNetworkPolicy: stagedNetworkPolicy,
  StagedGlobalNetworkPolicy: stagedGlobalNetworkPolicy,
  StagedKubernetesNetworkPolicy: stagedKubernetesNetworkPolicy,
  Tier: tierDefinition,
  Profile: profile,
  NetworkSet: networkSet,
  GlobalNetworkSet: globalNetworkSet,
  EndpointSlice: endpointSlice,
  Service: service,
  BlockAffinity: blockAffinityDefinition,
  IPAMBlock: ipamBlockDefinition,
  IPAMConfiguration: ipamConfigurationDefinition,
  FelixConfiguration: felixConfiguration,
  ClusterInformation: clusterInformation,
};

/** The kinds, in the order people think of them. */
export const kinds = Object.keys(definitions) as readonly Kind[];

/** A definition of some kind, for code that treats all alike. */
export type AnyDefinition = Definition<Kind>;

const byName: ReadonlyMap<string, AnyDefinition> = new Map(
  kinds.flatMap((kind) => {
    const definition: AnyDefinition = definitions[kind];
    const names = [kind, definition.plural, definition.singular, ...definition.aliases];
    return names.map((name): [string, AnyDefinition] => [name.toLowerCase(), definition]);
  }),
);

/** The definition whose kind, plural, singular or alias is `text`, in any case. */
export const definitionOf = (text: string): AnyDefinition | undefined => byName.get(text.toLowerCase());
