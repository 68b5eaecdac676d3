import { type AnyResource, keyOf, parse } from "@margay/api";
import type { Update } from "../calc.ts";

/** Resources for tests, through api's own validation and defaults. */
type Spec = Readonly<Record<string, unknown>>;
type Labels = Readonly<Record<string, string>>;

const resource = (kind: string, metadata: Spec, spec: Spec): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata, spec }).resource;

/** The update that puts a resource. */
export const put = (value: AnyResource): Update => ({
  key: keyOf(value.kind, value.metadata.name, value.metadata.namespace),
  value,
});

/** The update that removes what another one put. */
export const gone = ({ key }: Update): Update => ({ key });

/** `ns/name`, on node n1 unless `node` says otherwise. */
export function pod(
  path: string,
  ips: readonly string[],
  more: { labels?: Labels; node?: string; spec?: Spec } = {},
): Update {
  const [namespace = "", name = ""] = path.split("/");
  const spec = {
    ...{
      orchestrator: "k8s",
      node: more.node ?? "n1",
      pod: name,
      endpoint: "eth0",
      profiles: [`kns.${namespace}`],
    },
    ipNetworks: ips.map((ip) => (ip.includes(":") ? `${ip}/128` : `${ip}/32`)),
    interfaceName: `cali${namespace}${name}`.slice(0, 15),
    ...more.spec,
  };
  return put(resource("WorkloadEndpoint", { name, namespace, labels: more.labels ?? {} }, spec));
}

export function np(path: string, spec: Spec): Update {
  const [namespace = "", name = ""] = path.split("/");
  return put(resource("NetworkPolicy", { name, namespace }, spec));
}

export const gnp = (name: string, spec: Spec): Update => put(resource("GlobalNetworkPolicy", { name }, spec));

export function staged(policy: Update, stagedAction = "Set"): Update {
  const { kind, metadata, spec } = policy.value as AnyResource; // one that puts
  return put(resource(`Staged${kind}`, { ...metadata }, { ...spec, stagedAction }));
}

export const tier = (name: string, spec: Spec): Update => put(resource("Tier", { name }, spec));

export const profile = (name: string, spec: Spec): Update => put(resource("Profile", { name }, spec));

/** The profile of a namespace as the controllers write it: allows both ways, hands down the namespace's labels. */
export const namespace = (name: string, labels: Labels = {}): Update =>
  profile(`kns.${name}`, {
    ingress: [{ action: "Allow" }],
    egress: [{ action: "Allow" }],
    labelsToApply: {
      "pcns.projectcalico.org/name": name,
      ...Object.fromEntries(Object.entries(labels).map(([label, value]) => [`pcns.${label}`, value])),
    },
  });

export const gnetset = (name: string, labels: Labels, nets: readonly string[]): Update =>
  put(resource("GlobalNetworkSet", { name, labels }, { nets }));

export function netset(path: string, labels: Labels, nets: readonly string[]): Update {
  const [namespace = "", name = ""] = path.split("/");
  return put(resource("NetworkSet", { name, namespace, labels }, { nets }));
}

/** A slice of service `ns/name` that serves its ports (all TCP). */
export function slice(path: string, addresses: readonly string[], ports: readonly number[]): Update {
  const [namespace = "", name = ""] = path.split("/");
  const spec = {
    service: name,
    endpoints: addresses.map((address) => ({ addresses: [address] })),
    ports: ports.map((port) => ({ port })),
  };
  return put(
    resource(
      "EndpointSlice",
      { name: `${name}-${addresses[0] ?? "none"}`.replaceAll(/[.:]/g, "-"), namespace },
      spec,
    ),
  );
}

/** `ns/name` on one cluster address, of port 80. */
export function service(path: string, clusterIP: string, more: Spec = {}): Update {
  const [namespace = "", name = ""] = path.split("/");
  const spec = { clusterIPs: [clusterIP], ports: [{ port: 80, nodePort: 30080 }], ...more };
  return put(resource("Service", { name, namespace }, spec));
}

export const bgpSettings = (spec: Spec): Update =>
  put(resource("BGPConfiguration", { name: "default" }, spec));

export const pool = (name: string, spec: Spec): Update => put(resource("IPPool", { name }, spec));

export const affinity = (node: string, cidr: string, state = "confirmed"): Update =>
  put(resource("BlockAffinity", { name: `${node}-${cidr.replace("/", "-")}` }, { node, cidr, state }));

export const host = (name: string, ipv4Address: string, labels: Labels = {}): Update =>
  put(resource("Node", { name, labels }, { bgp: { ipv4Address } }));

export const hep = (name: string, spec: Spec, labels: Labels = {}): Update =>
  put(resource("HostEndpoint", { name, labels }, { node: "n1", interfaceName: "*", ...spec }));

export const felix = (name: string, spec: Spec): Update =>
  put(resource("FelixConfiguration", { name }, spec));
