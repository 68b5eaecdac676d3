import { type JsonSchema, type Kind, specSchema } from "@margay/api";
import { choice, flag, folder, group, list, map, port, strings, text, type Value, whole } from "./words.ts";

/** The spec of one of our kinds, as the CRD has it, but closed and without defaults: absent stays absent. */
function spec(kind: Kind, description: string): Value {
  return { ...closed(specSchema(kind)), description };
}

function closed({ properties, items, additionalProperties, default: _, type, ...rest }: JsonSchema): Value {
  const of = (all: Readonly<Record<string, JsonSchema>>) =>
    Object.fromEntries(Object.entries(all).map(([name, schema]) => [name, closed(schema)]));
  return {
    ...rest,
    ...(!rest["x-kubernetes-int-or-string"] && type && { type }),
    ...(properties && { properties: of(properties), additionalProperties: false as const }),
    ...(additionalProperties && { additionalProperties: closed(additionalProperties) }),
    ...(items && { items: closed(items) }),
  };
}

/** Resources of a kind, each its spec with a name. */
function named(kind: Kind, description: string, byDefault: readonly object[] = []): Value {
  const { properties, required = [], ...rest } = spec(kind, "");
  const name: Value = {
    type: "string",
    description: "Name of the resource.",
    pattern: "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$",
  };
  const items = { ...rest, properties: { name, ...properties }, required: ["name", ...required] };
  return list(description, { ...items, additionalProperties: false }, byDefault);
}

const resources = (requests: object, limits: object): Value =>
  map("Requests and limits of the container.", { requests, limits });
const everywhere = [{ operator: "Exists" }];
const image = (what: string, repository: string): Value =>
  group(what, {
    repository: text("Name with registry and path, as your cluster pulls it.", repository, { minLength: 1 }),
    tag: text("Tag; the chart's appVersion when empty.", ""),
    digest: text("Digest (sha256:...); wins over the tag.", "", { pattern: "^(sha256:[0-9a-f]{64})?$" }),
    pullPolicy: choice("When to pull.", "IfNotPresent", "Always", "Never"),
  });
const logLevel = choice("Least severe level that is logged.", "info", "trace", "debug", "warn", "error");
const autodetection = (family: string): Value =>
  text(
    `Which ${family} address is the node's: kubernetes-internal-ip, first-found, interface=REGEX, skip-interface=REGEX, cidr=CIDR, can-reach=ADDRESS, none.`,
    "kubernetes-internal-ip",
    {
      pattern: "^(kubernetes-internal-ip|first-found|none|(interface|skip-interface|cidr|can-reach)=.+)$",
    },
  );
const scheduling = {
  nodeSelector: strings("Nodes it may run on, by label."),
  tolerations: list("Taints it tolerates.", { type: "object" }, everywhere),
  affinity: map("Affinity, as in a pod's spec."),
};

/** Every value of charts/margay. Memory figures: measured resident sizes with room to breathe (docs/adr/0003-footprint.md). */
export const values: Value = group("Values of charts/margay.", {
  image: image("The one image of agent, bgpd, controllers and hooks.", "margay"),
  imagePullSecrets: list("Secrets to pull with: [{name: ...}].", { type: "object" }),
  pools: named("IPPool", "Address pools, each an IPPool. Kept when the release goes or the entry does.", [
    { name: "default-ipv4", cidr: "10.244.0.0/16", natOutgoing: true },
  ]),
  bgpConfiguration: {
    ...spec("BGPConfiguration", "The BGPConfiguration `default`: AS number, mesh, ports, service ranges."),
    default: { asNumber: 64512, nodeToNodeMeshEnabled: true },
  },
  bgpPeers: named("BGPPeer", "BGP peers, each a BGPPeer; such as the top-of-rack routers."),
  bgpFilters: named("BGPFilter", "BGP filters, each a BGPFilter, for peers to name."),
  reflectors: group("Route reflectors among the nodes.", {
    enabled: flag("Every node peers with the nodes that have the label, and the mesh is off.", false),
    label: text("Label of nodes that reflect.", "margay.dev/route-reflector", { minLength: 1 }),
  }),
  felixConfiguration: {
    ...spec(
      "FelixConfiguration",
      "The FelixConfiguration `default`: backend, MTU, logging, and what else it holds. A pod that no policy isolates may reach its own node, as Kubernetes has it.",
    ),
    default: { defaultEndpointToHostAction: "Accept" },
  },
  etcd: group("The datastore.", {
    mode: choice("bundled: this chart runs it; external: yours.", "bundled", "external"),
    external: group("An etcd of yours.", {
      endpoints: list("Its URLs, all http or all https.", {
        type: "string",
        pattern: "^https?://[^/\\s]+:[0-9]+$",
      }),
      tlsSecret: text("Secret with ca.crt, for https.", ""),
      clientCertificate: flag("The Secret has tls.crt and tls.key as well: show them.", true),
      authSecret: text("Secret with username and password.", ""),
    }),
    bundled: group("One StatefulSet on host networking, with mutual TLS by a CA that Helm makes and keeps.", {
      clusterIPs: list(
        "One free address of the cluster's service range per member, 1 or 3: reachable before any pod network is.",
        { type: "string", pattern: "^[0-9a-fA-F.:]+$" },
      ),
      image: image("An image with etcd and etcdctl.", "margay-etcd"),
      clientPort: port(
        "Port for clients on the members' nodes; not 2379, which the cluster's own etcd has.",
        12379,
      ),
      peerPort: whole(
        "Port between members; metrics are at the next one, on the node itself.",
        12380,
        1,
        65534,
      ),
      storage: group("Where the members keep their data.", {
        type: choice("A volume claim, or (with one member and a nodeName) a directory.", "claim", "hostPath"),
        size: text("Size of the claim.", "4Gi"),
        storageClassName: text("Its class; the cluster's default when empty.", ""),
        hostPath: folder("Directory on the node.", "/var/lib/margay-etcd"),
      }),
      nodeName: text("The node of a member with a hostPath.", ""),
      ...scheduling,
      priorityClassName: text("Priority.", "system-cluster-critical"),
      resources: resources({ cpu: "100m", memory: "128Mi" }, { memory: "1Gi" }),
      quotaBytes: whole("Size at which etcd refuses writes.", 2147483648, 67108864, 8589934592),
      certificateDays: whole("How long certificates made at install are valid.", 3650, 30, 36500),
      snapshots: group("A CronJob for each member that saves snapshots on the member's node.", {
        enabled: flag("Whether to.", true),
        schedule: text("When.", "17 */6 * * *"),
        keep: whole("How many to keep of each.", 12, 1, 1000),
        hostPath: folder(
          "Directory on the members' nodes that they are saved to.",
          "/var/lib/margay-etcd-snapshots",
        ),
      }),
      initialClusterState: choice(
        "existing: for a member that has lost its data, once it has been removed and added (docs/guide/upgrade.md).",
        "new",
        "existing",
      ),
      restoreFrom: text(
        "A snapshot in that directory of every member's node: each member begins with it, once (docs/guide/upgrade.md).",
        "",
        { pattern: "^[-A-Za-z0-9_.]*$" },
      ),
    }),
  }),
  node: group("The DaemonSet of agent and bgpd.", {
    ...scheduling,
    priorityClassName: text("Priority.", "system-node-critical"),
    maxUnavailable: {
      type: ["integer", "string"],
      description: "Nodes updated at a time, a number from 1 or a percentage.",
      default: 1,
      minimum: 1,
      pattern: "^([1-9][0-9]?|100)%$",
    },
    annotations: strings("Annotations of the pods."),
    privileged: flag(
      "Run the agent privileged, where a security module refuses what its capabilities allow.",
      false,
    ),
    runDir: folder("Directory of sockets on the node.", "/run/margay"),
    cniBinDir: folder("Where the container runtime looks for CNI plugins.", "/opt/cni/bin"),
    cniConfDir: folder("Where it looks for CNI configurations.", "/etc/cni/net.d"),
    netnsDir: folder("Where it keeps the pods' network namespaces.", "/var/run/netns"),
    agent: group("The agent.", {
      logLevel,
      healthPort: port("Port of health and metrics on the node.", 9099),
      ipAutodetectionMethod: autodetection("IPv4"),
      ip6AutodetectionMethod: autodetection("IPv6"),
      ipam: map(
        "Another plugin of cniBinDir that gives addresses, such as {type: host-local, subnet: usePodCidr}; Margay's own IPAM when empty.",
      ),
      resources: resources({ cpu: "100m", memory: "160Mi" }, { memory: "1Gi" }),
      env: list("More environment variables.", { type: "object" }),
    }),
    bgpd: group("The BGP speaker.", {
      enabled: flag("Whether nodes speak BGP.", true),
      logLevel,
      healthPort: port("Port of health and metrics on the node.", 9098),
      resources: resources({ cpu: "50m", memory: "128Mi" }, { memory: "1Gi" }),
      env: list("More environment variables.", { type: "object" }),
      secrets: list(
        "Secrets beside those that bgpPeers and bgpConfiguration name, for passwords of BGP peers.",
        {
          type: "string",
        },
      ),
    }),
  }),
  controllers: group("The Deployment that brings Kubernetes' objects into the datastore.", {
    replicas: whole(
      "Replicas, each on a node of its own; one leads. One while the cluster has one node.",
      2,
      1,
      5,
    ),
    leakGracePeriodSeconds: whole(
      "How long a pod must have been gone before what it held is freed.",
      900,
      10,
      86400,
    ),
    ...scheduling,
    priorityClassName: text("Priority.", "system-cluster-critical"),
    logLevel,
    healthPort: port("Port of health and metrics.", 9097),
    resources: resources({ cpu: "50m", memory: "128Mi" }, { memory: "1Gi" }),
    env: list("More environment variables.", { type: "object" }),
  }),
  kubernetesAPI: group("The API server, where it is not to be reached by its Service (no kube-proxy).", {
    host: text("Host or address, an IPv6 one without brackets.", "", { pattern: "^[^\\[\\]/]*$" }),
    port: port("Port.", 6443),
  }),
  metrics: group("Metrics.", {
    address: text(
      "Address that health and metrics are served on; pods are scraped by 0.0.0.0 or the node's.",
      "127.0.0.1",
      { minLength: 1 },
    ),
    podMonitor: group("A PodMonitor of the Prometheus operator; serves metrics on all addresses.", {
      enabled: flag("Whether to make one.", false),
      interval: text("How often to scrape.", "30s"),
      labels: strings("Labels of the PodMonitor, for its operator to select."),
    }),
    dashboard: group("A ConfigMap with a Grafana dashboard.", {
      enabled: flag("Whether to make one.", false),
      labels: strings("Its labels, for Grafana's sidecar to find.", { grafana_dashboard: "1" }),
    }),
  }),
  cleanup: group("What `helm uninstall` does on the nodes.", {
    enabled: flag("Take rules, routes, interfaces, CNI files and settings off every node.", true),
    timeoutSeconds: whole("How long to wait for all nodes.", 240, 10, 3600),
  }),
});
