export * from "./applied-from.ts";
export { closedPolicy } from "./closed-policy.ts";
export { customKinds } from "./custom-kinds.ts";
export * from "./definitions.ts";
export * from "./effective.ts";
export * from "./encode.ts";
export * from "./errors.ts";
export { parseResolver } from "./fields/domains.ts";
export { durationSeconds } from "./fields/duration.ts";
export { type PortMatch, parsePort } from "./fields/ports.ts";
export * from "./file.ts";
export { issuesOf } from "./issues.ts";
export { type JsonSchema, specSchema } from "./json-schema.ts";
export * from "./key.ts";
export { type ClosedPolicy, closedPolicies } from "./kubernetes/closed.ts";
export * from "./kubernetes/convert.ts";
export { isReadyEndpoint } from "./kubernetes/endpoint-slice.ts";
export { shortened } from "./kubernetes/stored-name.ts";
export { didYouMean } from "./meant.ts";
export { type Parsed, parse } from "./parse.ts";
export {
  API_VERSION,
  type Column,
  type Definition,
  type Metadata,
  type Resource,
} from "./resource.ts";
export type { BGPConfigurationSpec, BGPSettings } from "./resources/bgp-configuration.ts";
export type { BGPFilterRule, BGPFilterSpec } from "./resources/bgp-filter.ts";
export { type BGPPeerSpec, type PeerAddress, parsePeerIP } from "./resources/bgp-peer.ts";
export { type BGPPolicy, bgpPolicy } from "./resources/bgp-policy.ts";
export { md5Password, type SessionFields, secondsOf, sessionFields } from "./resources/bgp-session.ts";
export type { ClusterInformationSpec } from "./resources/cluster-information.ts";
export type { EndpointSliceSpec } from "./resources/endpoint-slice.ts";
export type { FelixConfigurationSpec, FelixSettings } from "./resources/felix-configuration.ts";
export type { HostEndpointSpec } from "./resources/host-endpoint.ts";
export type { IPPoolSpec } from "./resources/ip-pool.ts";
export type { IPReservationSpec } from "./resources/ip-reservation.ts";
export type {
  BlockAffinitySpec,
  IPAMBlockSpec,
  IPAMConfigurationSpec,
  ReleaseReason,
} from "./resources/ipam.ts";
export type { GlobalNetworkSetSpec, NetworkSetSpec } from "./resources/network-set.ts";
export type { NodeSpec } from "./resources/node.ts";
export {
  convertedPolicyPrefixes,
  type GlobalNetworkPolicySpec,
  type NetworkPolicySpec,
} from "./resources/policy.ts";
export type { ProfileSpec } from "./resources/profile.ts";
export type { EntityRule, Rule } from "./resources/rule.ts";
export { outdatedRules, ruleInForce } from "./resources/rule-domains.ts";
export type { ServiceSpec } from "./resources/service.ts";
export type {
  StagedGlobalNetworkPolicySpec,
  StagedKubernetesNetworkPolicySpec,
  StagedNetworkPolicySpec,
} from "./resources/staged-policy.ts";
export type { TierSpec } from "./resources/tier.ts";
export { type WorkloadEndpointSpec, workloadEndpointName } from "./resources/workload-endpoint.ts";
export { and, or, type Selector, SelectorError } from "./selector/ast.ts";
export { canonical, selectorId } from "./selector/canonical.ts";
export { evaluate, type Labels } from "./selector/evaluate.ts";
export { parseSelector } from "./selector/parse.ts";
export { type Restriction, requiredLabel } from "./selector/restriction.ts";
export { stagedForm } from "./staged.ts";
