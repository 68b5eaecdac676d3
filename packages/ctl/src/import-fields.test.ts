import { expect, test } from "@jest/globals";
import { convertCalico } from "./import-calico.ts";

const ends = {
  source: {
    ...{ nets: ["10.0.0.0/8"], notNets: ["10.1.0.0/16"], ports: [80, "90:99"], notPorts: [95] },
    ...{ selector: "a == 'b'", notSelector: "c == 'd'", namespaceSelector: "e == 'f'" },
    serviceAccounts: { names: ["x"], selector: "g == 'h'" },
  },
  destination: { ports: [443, "http"] },
};
const policy = { tier: "t", order: 10.5, selector: "a == 'b'", serviceAccountSelector: "x == 'y'" };
const filterRule = {
  ...{ cidr: "10.0.0.0/8", matchOperator: "In", prefixLength: { min: 16, max: 24 }, source: "RemotePeers" },
  ...{ interface: "eth*", peerType: "eBGP", communities: { values: ["1:2"] }, asPathPrefix: [65000] },
  ...{ priority: 100, action: "Accept" },
  operations: [
    ...[{ addCommunity: { value: "1:2" } }, { prependASPath: { prefix: [65000] } }],
    { setPriority: { value: 5 } },
  ],
};
const secret = { secretKeyRef: { name: "s", key: "k" } };

/** All fields of calico.md §1 but those that a row of import.test.ts is about; values as they are stored. */
const SPECS: readonly (readonly [kind: string, spec: object, name?: string])[] = [
  [
    "IPPool",
    {
      ...{ cidr: "10.0.0.0/16", blockSize: 26, ipipMode: "Never", vxlanMode: "Always", natOutgoing: true },
      ...{ disabled: true, disableBGPExport: true, nodeSelector: "all()", namespaceSelector: "x == 'y'" },
      ...{ allowedUses: ["Workload"], assignmentMode: "Manual" },
    },
  ],
  [
    "BGPConfiguration",
    {
      ...{ logSeverityScreen: "Info", nodeToNodeMeshEnabled: true, asNumber: 64513, listenPort: 178 },
      ...{ bindMode: "NodeIP", serviceClusterIPs: [{ cidr: "10.96.0.0/12" }] },
      ...{ serviceExternalIPs: [{ cidr: "1.2.3.0/24" }], serviceLoadBalancerIPs: [{ cidr: "1.2.4.0/24" }] },
      ...{ serviceLoadBalancerAggregation: "Disabled", communities: [{ name: "x", value: "1:2" }] },
      prefixAdvertisements: [{ cidr: "1.2.3.0/24", communities: ["x", "3:4"] }],
      ...{ nodeMeshPassword: secret, nodeMeshMaxRestartTime: "90s", ignoredInterfaces: ["eth*"] },
      ...{ localWorkloadPeeringIPV4: "169.254.1.1", localWorkloadPeeringIPV6: "fe80::1" },
      ...{ programClusterRoutes: "Enabled", ipv4NormalRoutePriority: 1024, ipv6NormalRoutePriority: 1024 },
    },
    "default",
  ],
  [
    "BGPPeer",
    {
      ...{ node: "n1", peerIP: "1.2.3.4:179", asNumber: 65000, localASNumber: 65001, password: secret },
      ...{ keepOriginalNextHop: true, sourceAddress: "None", maxRestartTime: "30s", keepaliveTime: "10s" },
      ...{ numAllowedLocalASNumbers: 2, ttlSecurity: 1, reachableBy: "1.2.3.1", filters: ["f"] },
    },
  ],
  [
    "BGPPeer",
    { nodeSelector: "all()", peerSelector: "rr == 'x'", nextHopMode: "Self", reversePeering: "Manual" },
  ],
  ["BGPPeer", { localWorkloadSelector: "app == 'x'", asNumber: 65000 }],
  [
    "BGPFilter",
    {
      ...{ exportV4: [filterRule], importV4: [{ action: "Accept" }], exportV6: [{ action: "Reject" }] },
      importV6: [{ cidr: "fd00::/8", matchOperator: "NotIn", action: "Reject" }],
    },
  ],
  [
    "HostEndpoint",
    {
      ...{ node: "n1", interfaceName: "eth0", expectedIPs: ["1.2.3.4"], profiles: ["p"] },
      ports: [{ name: "http", protocol: "TCP", port: 80 }],
    },
  ],
  [
    "NetworkPolicy",
    {
      ...{ ...policy, types: ["Ingress", "Egress"], performanceHints: ["AssumeNeededOnEveryNode"] },
      ingress: [
        { action: "Allow", ipVersion: 4, protocol: "TCP", ...ends, metadata: { annotations: { a: "b" } } },
      ],
      egress: [{ action: "Deny", destination: { services: { name: "s", namespace: "n" } } }],
    },
  ],
  [
    "GlobalNetworkPolicy",
    {
      ...{ ...policy, namespaceSelector: "a == 'b'", types: ["Ingress"] },
      ingress: [
        { action: "Log", protocol: "ICMP", icmp: { type: 8, code: 0 }, notICMP: { type: 3 } },
        { action: "Pass", notProtocol: 17 },
      ],
    },
  ],
  ["GlobalNetworkPolicy", { doNotTrack: true, applyOnForward: true, ingress: [{ action: "Deny" }] }],
  ["GlobalNetworkPolicy", { preDNAT: true, applyOnForward: true, ingress: [{ action: "Deny" }] }],
  ["StagedNetworkPolicy", { ...policy, stagedAction: "Set", types: ["Ingress"] }],
  ["StagedGlobalNetworkPolicy", { ...policy, stagedAction: "Learn", types: ["Ingress"] }],
  [
    "StagedKubernetesNetworkPolicy",
    { podSelector: { matchLabels: { a: "b" } }, stagedAction: "Set", policyTypes: ["Ingress"] },
  ],
  ["Tier", { order: 100, defaultAction: "Pass" }],
  ["NetworkSet", { nets: ["10.0.0.0/8", "fd00::/8"] }],
  ["GlobalNetworkSet", { nets: ["1.2.3.4/32"] }],
  ["Profile", { ingress: [{ action: "Allow" }], egress: [{ action: "Deny" }], labelsToApply: { a: "b" } }],
  [
    "IPAMConfiguration",
    {
      ...{ strictAffinity: true, maxBlocksPerHost: 4, autoAllocateBlocks: true, ipCooldownSeconds: 5 },
      kubeVirtVMAddressPersistence: "Enabled",
    },
    "default",
  ],
  ["IPReservation", { reservedCIDRs: ["10.0.0.1/32"] }],
  [
    "FelixConfiguration",
    {
      ...{ logSeverityScreen: "Info", vxlanPort: 4789, vxlanVNI: 4096, vxlanMTU: 1410, ipipMTU: 1400 },
      ...{ bpfEnabled: true, wireguardEnabled: true, goGCThreshold: 40, externalNodesList: ["1.2.3.4/32"] },
      ...{ iptablesBackend: "NFT", nftablesMode: "Enabled", iptablesRefreshInterval: "60s" },
      failsafeInboundHostPorts: [{ protocol: "TCP", port: 22 }],
      failsafeOutboundHostPorts: [{ protocol: "UDP", port: 53, net: "0.0.0.0/0" }],
      ...{ defaultEndpointToHostAction: "Accept", chainInsertMode: "Append", floatingIPs: "Enabled" },
      ...{ workloadSourceSpoofing: "Any", natPortRange: "1000:2000", natOutgoingAddress: "1.2.3.4" },
      ...{ serviceLoopPrevention: "Drop", allowVXLANPacketsFromWorkloads: true, interfacePrefix: "cali" },
      ...{ dropActionOverride: "Accept", routeTableRanges: [{ min: 10, max: 20 }], reportingInterval: "0s" },
    },
    "default",
  ],
];

/** ".ports[0]" and the value there, of everything that is not made of others. */
function leaves(value: unknown, path = ""): [string, unknown][] {
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([key, one]) =>
    leaves(one, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`),
  );
}

test.each(SPECS)("every field of %s is taken as it is, or named in the report", (kind, spec, name = "a") => {
  const namespaced = /^(Staged(Kubernetes)?)?Network(Policy|Set)$/.test(kind) && { namespace: "shop" };
  const document = { apiVersion: "projectcalico.org/v3", kind, metadata: { name, ...namespaced }, spec };
  const { report, resources } = convertCalico([{ origin: "calico.yaml:1", document }]);
  const [{ outcome, notes } = { outcome: "refused", notes: [] }] = report;
  expect([outcome, notes.filter((note) => note.includes("must"))]).toEqual([
    "imported",
    notes.filter((note) => note.includes("Secret")),
  ]);
  const taken = new Map(leaves(resources[0]?.resource.spec));
  const lost = leaves(spec)
    .filter(([path, value]) => taken.get(path) !== value)
    .filter(([path]) => !notes.some((note) => note.includes(path.split(/[.[]/)[1] ?? path)));
  expect(lost).toEqual([]);
});
