/** Objects as a cluster of Calico's has them in etcd (crd.projectcalico.org/v1): labels in an annotation, tier in the name. */
export const CALICO_OBJECTS = `
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: { name: default-ipv4-ippool, annotations: { projectcalico.org/metadata: '{"creationTimestamp":"2024-02-01T10:00:00Z"}' } }
spec:
  { allowedUses: [Workload, Tunnel], blockSize: 26, cidr: 192.168.0.0/16, ipipMode: Always, natOutgoing: true, nodeSelector: all(), vxlanMode: Never }
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: { name: rack-1 }
spec: { blockSize: 122, cidr: "fd00:192:168::/112", disableBGPExport: true, disabled: false, natOutgoing: false, nodeSelector: rack == '1', vxlanMode: CrossSubnet }
---
apiVersion: crd.projectcalico.org/v1
kind: IPReservation
metadata: { name: gateways }
spec: { reservedCIDRs: [192.168.0.0/30] }
---
apiVersion: crd.projectcalico.org/v1
kind: BGPConfiguration
metadata: { name: default }
spec:
  asNumber: 64513
  bindMode: NodeIP
  communities: [{ name: anycast, value: "65001:7" }]
  listenPort: 179
  logSeverityScreen: Info
  nodeToNodeMeshEnabled: false
  prefixAdvertisements: [{ cidr: 203.0.113.0/24, communities: [anycast] }]
  serviceClusterIPs: [{ cidr: 10.96.0.0/12 }]
  serviceLoadBalancerIPs: [{ cidr: 203.0.113.0/24 }]
---
apiVersion: crd.projectcalico.org/v1
kind: BGPPeer
metadata: { name: rack-1 }
spec:
  asNumber: 65000
  filters: [pods-only]
  keepOriginalNextHop: true
  maxRestartTime: 2m
  nodeSelector: rack == '1'
  password: { secretKeyRef: { key: rack-1, name: bgp } }
  peerIP: 172.20.0.2:179
  ttlSecurity: 1
---
apiVersion: crd.projectcalico.org/v1
kind: BGPFilter
metadata: { name: pods-only }
spec:
  exportV4: [{ action: Accept, cidr: 192.168.0.0/16, matchOperator: In, prefixLength: { min: 26, max: 32 } }, { action: Reject }]
  importV6: [{ action: Reject, interface: "eth*", source: RemotePeers }]
---
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: { name: default }
spec:
  bpfEnabled: true
  failsafeInboundHostPorts: [{ net: 0.0.0.0/0, port: 22, protocol: tcp }]
  floatingIPs: Disabled
  iptablesBackend: NFT
  logSeverityScreen: Info
  reportingInterval: 0s
  wireguardEnabled: true
---
apiVersion: crd.projectcalico.org/v1
kind: Tier
metadata: { name: platform }
spec: { defaultAction: Pass, order: 100 }
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: { name: platform.no-metadata }
spec:
  egress:
    - { action: Deny, destination: { nets: [169.254.169.254/32] } }
    - { action: Allow, destination: { selector: role == 'threat-free' }, metadata: { annotations: { owner: platform } }, protocol: TCP }
  order: 10
  tier: platform
  types: [Egress]
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: { name: default.host }
spec: { applyOnForward: true, doNotTrack: true, ingress: [{ action: Allow, protocol: UDP, destination: { ports: [53, "8000:8010"] } }], selector: role == 'edge' }
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: { name: default.db, namespace: default }
spec:
  ingress:
    - { action: Allow, destination: { ports: [5432] }, protocol: TCP, source: { serviceAccounts: { names: [api] } } }
    - { action: Allow, icmp: { code: 0, type: 8 }, ipVersion: 4, protocol: ICMP, source: { namespaceSelector: team == 'ops', notNets: [10.0.0.0/8] } }
  selector: app == 'db'
  types: [Ingress]
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: { name: default.cache, namespace: default }
spec: { ingress: [{ action: Allow, destination: { ports: [6379] }, protocol: TCP, source: { selector: app == 'api' } }], selector: app == 'cache', types: [Ingress] }
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkSet
metadata: { name: threats, annotations: { projectcalico.org/metadata: '{"labels":{"role":"threat"}}' } }
spec: { nets: [198.51.100.0/24, "2001:db8:bad::/48"] }
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkSet
metadata: { name: partners, namespace: default, annotations: { projectcalico.org/metadata: '{"labels":{"role":"partner"}}' } }
spec: { nets: [203.0.113.7/32] }
---
apiVersion: crd.projectcalico.org/v1
kind: HostEndpoint
metadata: { name: edge-eth0, annotations: { projectcalico.org/metadata: '{"labels":{"role":"edge"}}' } }
spec: { expectedIPs: [172.20.0.11], interfaceName: eth0, node: n1, ports: [{ name: dns, port: 53, protocol: UDP }], profiles: [] }
---
apiVersion: crd.projectcalico.org/v1
kind: IPAMConfig
metadata: { name: default }
spec: { autoAllocateBlocks: true, maxBlocksPerHost: 4, strictAffinity: false }
---
apiVersion: crd.projectcalico.org/v1
kind: KubeControllersConfiguration
metadata: { name: default }
spec: { controllers: { node: { hostEndpoint: { autoCreate: Disabled }, leakGracePeriod: 20m, reconcilerPeriod: 5m, syncLabels: Enabled } }, healthChecks: Enabled, logSeverityScreen: Info }
---
apiVersion: crd.projectcalico.org/v1
kind: ClusterInformation
metadata: { name: default }
spec: { calicoVersion: v3.29.2, clusterGUID: 0123456789abcdef, clusterType: "k8s,bgp,kdd", datastoreReady: true }
`;
