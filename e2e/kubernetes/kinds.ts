/** An object of every kind that kubectl knows: one that is accepted, one that passes the schema and is refused, one that the schema refuses. */
export interface KindRow {
  readonly kind: string;
  /** What kubectl may be asked for instead. */
  readonly short: string;
  readonly namespaced?: boolean;
  /** Names, where the kind prescribes them. */
  readonly name?: string;
  readonly refusedName?: string;
  readonly valid: object;
  /** No schema says this; the status and an Event do. */
  readonly refused: object;
  readonly why: RegExp;
  /** The API server refuses it: a type, a choice, a pattern, a missing field, a rule between fields. */
  readonly impossible: object;
  /** What `kubectl get` shows of the valid one. */
  readonly shown: RegExp;
}

const web = { selector: "app == 'web'" };
export const kinds: readonly KindRow[] = [
  {
    ...{ kind: "IPPool", short: "ipp", valid: { cidr: "203.0.113.0/24", allowedUses: ["LoadBalancer"] } },
    ...{ refused: { cidr: "10.9.0.0/16", blockSize: 60 }, why: /blockSize/ },
    ...{ impossible: { natOutgoing: true }, shown: /203\.0\.113\.0\/24/ },
  },
  {
    ...{ kind: "IPReservation", short: "ipr", valid: { reservedCIDRs: ["10.244.9.0/28"] } },
    ...{ refused: { reservedCIDRs: ["10.244.9.0/48"] }, why: /reservedCIDRs/ },
    ...{ impossible: { reservedCIDRs: "10.244.9.0/28" }, shown: /10\.244\.9\.0\/28/ },
  },
  {
    ...{ kind: "BGPConfiguration", short: "bgpconfig", name: "node.n1", valid: { listenPort: 179 } },
    ...{ refused: { asNumber: 65001 }, why: /asNumber/ },
    ...{ impossible: { listenPort: 70000 }, shown: /node\.n1/ },
  },
  {
    ...{ kind: "BGPPeer", short: "bgpp", valid: { peerIP: "172.20.0.9", asNumber: 65009, node: "n1" } },
    ...{ refused: { peerIP: "fe80::9", asNumber: 65009, node: "n1" }, why: /interface/ },
    ...{ impossible: { peerIP: "172.20.0.9" }, shown: /172\.20\.0\.9 .*65009/ },
  },
  {
    ...{ kind: "BGPFilter", short: "bgpf", valid: { importV4: [{ action: "Accept" }] } },
    ...{ refused: { importV4: [{ action: "Accept", cidr: "10.0.0.0/8" }] }, why: /matchOperator/ },
    ...{ impossible: { importV4: [{ action: "Perhaps" }] }, shown: /True/ },
  },
  {
    ...{ kind: "HostEndpoint", short: "hep", valid: { node: "elsewhere", interfaceName: "eth9" } },
    ...{ refused: { node: "elsewhere", expectedIPs: ["192.0.2.300"] }, why: /expectedIPs/ },
    ...{ impossible: { node: "elsewhere" }, shown: /True/ },
  },
  {
    ...{ kind: "NetworkPolicy", short: "np", namespaced: true, valid: { ...web, order: 7 } },
    ...{ refused: { selector: "app =" }, why: /selector/, impossible: { ingress: [{ action: "Perhaps" }] } },
    shown: /7 .*app == 'web'/,
  },
  {
    ...{ kind: "GlobalNetworkPolicy", short: "gnp", valid: { ...web, order: 8, types: ["Ingress"] } },
    ...{ refused: { selector: "app =" }, why: /selector/, impossible: { order: "first" } },
    shown: /8 .*app == 'web'/,
  },
  {
    ...{ kind: "StagedNetworkPolicy", short: "snp", namespaced: true, valid: web },
    ...{
      refused: { selector: "app =" },
      why: /selector/,
      impossible: { stagedAction: "Never" },
      shown: /True/,
    },
  },
  {
    ...{ kind: "StagedGlobalNetworkPolicy", short: "sgnp", valid: web },
    ...{
      refused: { selector: "app =" },
      why: /selector/,
      impossible: { stagedAction: "Never" },
      shown: /True/,
    },
  },
  {
    ...{ kind: "StagedKubernetesNetworkPolicy", short: "sknp", namespaced: true, valid: { podSelector: {} } },
    ...{ refused: { podSelector: { matchExpressions: [{ key: "app", operator: "In" }] } }, why: /values/ },
    ...{ impossible: { podSelector: "app" }, shown: /True/ },
  },
  {
    ...{ kind: "Tier", short: "tier", valid: { order: 500 } },
    ...{ refused: { order: 500 }, refusedName: "two.labels", why: /name/ },
    ...{ impossible: { order: "first" }, shown: /500/ },
  },
  {
    ...{ kind: "NetworkSet", short: "netset", namespaced: true, valid: { nets: ["192.0.2.0/24"] } },
    ...{
      refused: { nets: ["192.0.2.0/48"] },
      why: /nets/,
      impossible: { nets: "192.0.2.0/24" },
      shown: /True/,
    },
  },
  {
    ...{ kind: "GlobalNetworkSet", short: "gns", valid: { nets: ["192.0.2.0/24"] } },
    ...{
      refused: { nets: ["192.0.2.0/48"] },
      why: /nets/,
      impossible: { nets: "192.0.2.0/24" },
      shown: /True/,
    },
  },
  {
    ...{ kind: "IPAMConfiguration", short: "ipamconfig", name: "default", valid: { strictAffinity: false } },
    ...{ refused: { maxBlocksPerHost: 20 }, why: /default/, impossible: { maxBlocksPerHost: "many" } },
    shown: /True/,
  },
  {
    ...{
      kind: "FelixConfiguration",
      short: "felixconfig",
      name: "node.n1",
      valid: { routeRefreshInterval: "90s" },
    },
    ...{ refused: { interfacePrefix: "longer-than-any-interface" }, why: /interfacePrefix/ },
    ...{ impossible: { iptablesBackend: "Both" }, shown: /True/ },
  },
];
