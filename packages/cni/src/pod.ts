import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { type WorkloadEndpoint, workloadEndpointName } from "@margay/api";
import { type Address, formatAddress, formatPrefix, hostPrefix } from "@margay/net";
import type { Invocation } from "./invocation.ts";
import { FIXED_MTU, handleOf, NETNS, NETWORK, type Owner } from "./owner.ts";
import { GATEWAY } from "./result.ts";
import type { Wishes } from "./wishes.ts";

/** Who an invocation is for, in Margay's names. Derived, so that ADD, DEL and a restarted agent agree. */
export interface Pod {
  readonly orchestrator: "k8s" | "cni";
  readonly namespace: string;
  readonly name: string;
  /** Name of its WorkloadEndpoint. */
  readonly endpoint: string;
  readonly owner: Owner;
  /** Name under which IPAM keeps its addresses: this sandbox's, not the pod's. */
  readonly handle: string;
  /** One that is there already may have another name, from an older version or before a change of prefix: its endpoint says it. */
  readonly hostInterface: string;
}

/** Names everything; without K8S_POD_NAME the container is the pod, in namespace "default". */
export function podOf(invocation: Invocation, where: { node: string; interfacePrefix: string }): Pod {
  const { args, containerId, ifname, conf } = invocation;
  const orchestrator = args.K8S_POD_NAME ? "k8s" : "cni";
  const name = args.K8S_POD_NAME ?? containerId;
  const namespace = args.K8S_POD_NAMESPACE ?? "default";
  const owner = { network: conf.name, containerId, ifname };
  return {
    ...{ orchestrator, namespace, name, owner },
    endpoint: workloadEndpointName({ node: where.node, orchestrator, pod: name, endpoint: ifname }),
    handle: handleOf(owner),
    hostInterface: hostInterfaceName(where.interfacePrefix, { orchestrator, namespace, name, ifname }),
  };
}

/**
 * `cali` + 11 hex digits of sha1("namespace.pod"), as Calico. Further interfaces of a pod, and workloads outside Kubernetes,
 * hash what tells them apart too, with slashes, which no name has: `web.net1` is a pod's name.
 */
function hostInterfaceName(
  prefix: string,
  {
    orchestrator,
    namespace,
    name,
    ifname,
  }: Pick<Pod, "orchestrator" | "namespace" | "name"> & { ifname: string },
): string {
  const isUsual = orchestrator === "k8s" && ifname === "eth0";
  const text = isUsual ? `${namespace}.${name}` : [orchestrator, namespace, name, ifname].join("/");
  return prefix + createHash("sha1").update(text).digest("hex").slice(0, 11);
}

/** What of a WorkloadEndpoint IPAM, the kernel and the user decided. */
export interface Wired {
  readonly addresses: readonly Address[];
  readonly mac: string;
  readonly asked?: Pick<Wishes, "allowedSourcePrefixes" | "floatingIPs" | "qos">;
}

/** The endpoint that tells every node about the pod: its addresses, labels and profiles (pure). */
export function endpointOf(
  invocation: Invocation,
  pod: Pod & { node: string; now: Date },
  { addresses, mac, asked }: Wired,
): WorkloadEndpoint {
  const { namespace, orchestrator } = pod;
  const own = (invocation.conf.args?.cni?.labels ?? []).map(({ key, value }): [string, string] => [
    key,
    value,
  ]);
  const { serviceAccountName, ports } = invocation.conf.args?.cni ?? {};
  const has = (family: 4 | 6) => addresses.some((address) => address.family === family);
  return {
    apiVersion: "margay.dev/v1",
    kind: "WorkloadEndpoint",
    metadata: {
      name: pod.endpoint,
      namespace,
      labels: {
        ...Object.fromEntries(own),
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/orchestrator": orchestrator,
        ...(serviceAccountName && { "projectcalico.org/serviceaccount": serviceAccountName }),
      },
      annotations: {
        [NETWORK]: pod.owner.network,
        ...(invocation.netns && { [NETNS]: invocation.netns }),
        ...(invocation.conf.mtu && { [FIXED_MTU]: `${invocation.conf.mtu}` }),
      },
      creationTimestamp: pod.now.toISOString(),
    },
    spec: {
      ...{ orchestrator, node: pod.node, containerID: invocation.containerId, endpoint: invocation.ifname },
      ...(orchestrator === "k8s" ? { pod: pod.name } : { workload: pod.name }),
      ipNetworks: addresses.map((address) => formatPrefix(hostPrefix(address))),
      ...(has(4) && { ipv4Gateway: GATEWAY[4] }),
      ...(has(6) && { ipv6Gateway: GATEWAY[6] }),
      profiles: [
        `kns.${namespace}`,
        ...(serviceAccountName ? [`ksa.${namespace}.${serviceAccountName}`] : []),
      ],
      ...(serviceAccountName && { serviceAccountName }),
      ...(ports && ports.length > 0 && { ports }),
      ...{ interfaceName: pod.hostInterface, mac },
      ...(asked?.floatingIPs.length && { ipNATs: floating(asked.floatingIPs, addresses) }),
      ...(asked?.qos && { qosControls: asked.qos }),
      ...(asked?.allowedSourcePrefixes.length && {
        allowSpoofedSourcePrefixes: [...asked.allowedSourcePrefixes],
      }),
    },
  };
}

/** Each stands for the pod's own address of its family. */
const floating = (floatingIPs: readonly Address[], addresses: readonly Address[]) =>
  floatingIPs.flatMap((external) => {
    const internal = addresses.find(({ family }) => family === external.family);
    if (!internal) return [];
    return [{ internalIP: formatAddress(internal), externalIP: formatAddress(external) }];
  });

/** Who has an address: for people, and for IPAM to prove one day that nobody has it any more. */
export function attributesOf(invocation: Invocation, pod: Pod & { node: string; now: Date }) {
  const { netns, containerId, args, plugin, conf } = invocation;
  const netnsInode = netns && statSync(netns, { throwIfNoEntry: false })?.ino;
  return {
    ...{ pod: pod.name, namespace: pod.namespace, node: pod.node, containerID: containerId },
    timestamp: pod.now.toISOString(),
    ...(plugin === "ipam" && { plugin: conf.type ?? "another" }),
    ...(args.K8S_POD_UID && { podUID: args.K8S_POD_UID }),
    ...(netns && netnsInode && { netns, netnsInode: `${netnsInode}` }),
  };
}
