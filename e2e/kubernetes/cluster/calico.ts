import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { namespacePath } from "@margay/lab";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { calicoFolder } from "../calico-programs.mjs";
import type { Cluster } from "./cluster.ts";
import { onNode } from "./runtime.ts";

/**
 * A real Calico on the lab's nodes: felix by the API server as datastore, and its CNI plugins with calico-ipam, set as its manifest
 * `calico.yaml` sets them. What calico-node's start-up writes (ClusterInformation, the nodes' addresses), the test writes; felix itself writes
 * the routes between nodes (`programClusterRoutes`), for its BIRD is not here.
 */
const FELIX = {
  FELIX_DATASTORETYPE: "kubernetes",
  FELIX_DEFAULTENDPOINTTOHOSTACTION: "ACCEPT",
  FELIX_IPV6SUPPORT: "false",
  FELIX_HEALTHENABLED: "true",
  FELIX_USAGEREPORTINGENABLED: "false",
  FELIX_LOGSEVERITYSCREEN: "info",
  FELIX_LOGSEVERITYFILE: "none",
  FELIX_LOGSEVERITYSYS: "none",
  FELIX_XDPENABLED: "false", // built without libbpf
  FELIX_DebugSkipCTLBCleanup: "true", // the same
};

/** felix finds nothing of another node's below these. */
const OWN =
  "mount -t tmpfs none /var/lib && mkdir -p /var/lib/calico /run/calico && mount -t tmpfs none /run/calico";

const felix = (node: string) => `${node}/felix`;

/** What calico-node's containers do on a node: the plugins and their configuration, then felix. */
export function startCalico(cluster: Cluster, node: string): void {
  const bin = onNode(node, "/opt/cni/bin");
  const own = onNode(node, "/var/lib/calico");
  for (const folder of [bin, own, onNode(node, "/etc/cni/net.d")]) mkdirSync(folder, { recursive: true });
  for (const name of ["calico", "calico-ipam"]) copyFileSync(join(calicoFolder(), "calico"), join(bin, name));
  writeFileSync(join(own, "nodename"), node);
  writeFileSync(calicoConflist(node), JSON.stringify(conflist(own, cluster.server.kubeconfig)));
  startFelix(cluster, node);
}

export const calicoConflist = (node: string): string => onNode(node, "/etc/cni/net.d/10-calico.conflist");

export function startFelix(cluster: Cluster, node: string): void {
  cluster.processes.start({
    name: felix(node),
    command: ["unshare", "--mount", "sh", "-c", `${OWN} && exec ${join(calicoFolder(), "calico-felix")}`],
    env: { ...FELIX, FELIX_FELIXHOSTNAME: node, KUBECONFIG: cluster.server.kubeconfig },
    namespace: namespacePath(node),
  });
}

export const stopFelix = (cluster: Cluster, node: string): Promise<void> =>
  cluster.processes.signal(felix(node), "SIGTERM");

/** The paths are those of the node's file system, of which the plugins here do not see the root. */
function conflist(own: string, kubeconfig: string): object {
  const calico = {
    type: "calico",
    log_level: "info",
    log_file_path: join(own, "cni.log"),
    datastore_type: "kubernetes",
    nodename_file: join(own, "nodename"),
    ipam_lock_file: join(own, "ipam.lock"),
    mtu: 0,
    ipam: { type: "calico-ipam" },
    policy: { type: "k8s" },
    kubernetes: { kubeconfig },
  };
  return { name: "k8s-pod-network", cniVersion: "0.3.1", plugins: [calico] };
}

/** What calico-node and a cluster's administrator write before the first pod. */
export const calicoObjects = (pool: string): string => `
apiVersion: crd.projectcalico.org/v1
kind: ClusterInformation
metadata: { name: default }
spec: { clusterGUID: "6d617267617963616c69636f62657369", calicoVersion: v3.31.0, datastoreReady: true }
---
apiVersion: crd.projectcalico.org/v1
kind: FelixConfiguration
metadata: { name: default }
spec: { bpfConnectTimeLoadBalancing: TCP, floatingIPs: Disabled, logSeverityScreen: Info, reportingInterval: 0s, programClusterRoutes: Enabled }
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: { name: default-ipv4-ippool }
spec: { cidr: ${pool}, blockSize: 26, ipipMode: Never, vxlanMode: Never, natOutgoing: true, nodeSelector: all(), allowedUses: [Workload, Tunnel] }
`;
