import {
  type AnyResource,
  ApiError,
  type ClosedPolicy,
  closedPolicies,
  closedPolicy,
  convertedPolicyPrefixes,
  customKinds,
  decode,
  definitions,
  type Kind,
  keyOf,
  parse,
  parseKubernetes,
} from "@margay/api";
import type { KubernetesObject } from "@margay/kubernetes";
import { markedText } from "./mark.ts";

/** What an object of Kubernetes is in the datastore. */
export interface Converted {
  readonly key: string;
  /** The value; undefined: nothing may be written, what is there stays as it is. */
  readonly text: string | undefined;
  /** Why the object cannot be taken as it is; `text` is then what fails closed, if anything. */
  readonly refused?: string;
  /** With `refused`: the object's other rules are in force. */
  readonly isClosedByRule?: true;
  /** Without `text`: what fails closed, if nothing was in force before. */
  readonly closed?: string;
}

/** One kind of object and how it is converted (pure). */
export interface Conversion {
  /** "networking.k8s.io/v1 NetworkPolicy": in logs, and the mark of what is made from it. */
  readonly from: string;
  /** The datastore's kind. */
  readonly kind: Kind;
  readonly path: string;
  /** A cluster need not have the kind, or not yet: `helm upgrade` adds no CRDs. */
  readonly optional?: boolean;
  /** Custom resources of ours have a status to write back. */
  readonly hasStatus?: boolean;
  readonly convert: (object: KubernetesObject) => Converted;
}

/** Kinds that api converts, each object to one resource. */
function kubernetes(row: {
  from: string;
  kind: Kind;
  path: string;
  optional?: boolean;
  /** Names the resource also when the object is refused. */
  key: (object: KubernetesObject) => string;
  /** What is stored in place of one that is refused. */
  closed?: ClosedPolicy;
  /** Annotations about the network come along. */
  annotated?: boolean;
}): Conversion {
  const [apiVersion, kind] = row.from.split(" ");
  return {
    ...row,
    convert: (object) => {
      const document = { ...clean(object), apiVersion, kind };
      const made = attempt(() => parseKubernetes(document)?.resource);
      const more = row.annotated ? networkAnnotations(object.metadata.annotations) : {};
      if (typeof made !== "string")
        return { key: row.key(object), text: made && markedText(made, row.from, more) };
      const byRule = row.closed?.closeByRule?.(object);
      const closed = byRule ?? row.closed?.close(object);
      const text = closed && markedText(closed, row.from);
      return { key: row.key(object), text, refused: made, ...(byRule && { isClosedByRule: true }) };
    },
  };
}

/** A kind of network-policy-api, which few clusters have; all of them are policies of the whole cluster. */
function adminKind(version: string, kind: keyof typeof closedPolicies, plural: string): Conversion {
  const group = `policy.networking.k8s.io/${version}`;
  const closed = closedPolicies[kind];
  return kubernetes({
    ...{ from: `${group} ${kind}`, kind: "GlobalNetworkPolicy", path: `/apis/${group}/${plural}` },
    key: (object) => keyOf("GlobalNetworkPolicy", closed.name(object)),
    ...{ optional: true, closed },
  });
}

/** Our own kinds, copied as they are. */
function custom(kind: Kind): Conversion {
  const { plural } = definitions[kind];
  const from = `margay.dev/v1 ${kind}`;
  return {
    ...{ from, kind, path: `/apis/margay.dev/v1/${plural}`, hasStatus: true, optional: true },
    convert: (object) => {
      const { name, namespace } = object.metadata;
      const key = keyOf(kind, name, namespace);
      const made = attempt(() => parse({ ...clean(object), apiVersion: "margay.dev/v1", kind }).resource);
      if (typeof made === "string") {
        const closed = closedText(object, { kind, from });
        return { key, text: undefined, refused: made, ...(closed && { closed }) };
      }
      const taken = convertedPolicyPrefixes.find((prefix) => name.startsWith(prefix));
      if (taken)
        return { key, text: undefined, refused: `metadata.name: "${taken}…" are Kubernetes' own policies` };
      return { key, text: markedText(made, from) };
    },
  };
}

/** On what stands for an object of ours that is refused. */
const CLOSED = "margay.dev/closed";

function closedText(
  object: Parameters<typeof closedPolicy>[1],
  { kind, from }: Pick<Conversion, "kind" | "from">,
): string | undefined {
  const closed = closedPolicy(kind, object);
  return closed && markedText(closed, from, { [CLOSED]: "refused" });
}

/** What fails closed in place of a value that the datastore does not take; undefined for what is no policy. */
export const closedInstead = (key: string, text: string, conversion: Conversion): string | undefined =>
  closedText(decode(key, text), conversion);

/** Whether an entry's text stands for an object that was refused, and is none that ever was in force as written. */
export const standsClosed = (text: string): boolean => text.includes(`${JSON.stringify(CLOSED)}:`);

/** Every kind whose objects are each one resource. Nodes, pods and services are not among them. */
export const conversions: readonly Conversion[] = [
  kubernetes({
    ...{ from: "v1 Namespace", kind: "Profile", path: "/api/v1/namespaces", annotated: true },
    key: ({ metadata }) => keyOf("Profile", `kns.${metadata.name}`),
  }),
  kubernetes({
    ...{ from: "v1 ServiceAccount", kind: "Profile", path: "/api/v1/serviceaccounts" },
    key: ({ metadata }) => keyOf("Profile", `ksa.${metadata.namespace}.${metadata.name}`),
  }),
  kubernetes({
    ...{ from: "networking.k8s.io/v1 NetworkPolicy", kind: "NetworkPolicy" },
    path: "/apis/networking.k8s.io/v1/networkpolicies",
    key: (object) =>
      keyOf("NetworkPolicy", closedPolicies.NetworkPolicy.name(object), object.metadata.namespace),
    closed: closedPolicies.NetworkPolicy,
  }),
  kubernetes({
    ...{ from: "discovery.k8s.io/v1 EndpointSlice", kind: "EndpointSlice" },
    path: "/apis/discovery.k8s.io/v1/endpointslices",
    key: ({ metadata }) => keyOf("EndpointSlice", metadata.name, metadata.namespace),
  }),
  ...[
    adminKind("v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies"),
    adminKind("v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies"),
    adminKind("v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies"),
  ],
  ...customKinds.map(custom),
];

/** Whether it decides who may talk to whom. A pod is closed without its profiles, and they come only after all of these. */
export const isAboutTraffic = ({ kind }: Conversion): boolean => ABOUT_TRAFFIC.has(kind);

const ABOUT_TRAFFIC: ReadonlySet<Kind> = new Set<Kind>([
  ...(["Tier", "NetworkPolicy", "GlobalNetworkPolicy", "NetworkSet", "GlobalNetworkSet"] as const),
]);

/** Of a namespace, agents read them in its profile: pools, for one. */
const networkAnnotations = (annotations: Readonly<Record<string, string>> = {}) =>
  Object.fromEntries(
    Object.entries(annotations).filter(([name]) => /^(cni\.projectcalico\.org|margay\.dev)\//.test(name)),
  );

/** Without what the API server adds: a changed status or field manager changes nothing in the datastore. */
function clean({ metadata, spec, ...rest }: KubernetesObject): object {
  const { name, namespace, labels, annotations } = metadata;
  const { status: _, ...other } = rest;
  return {
    ...other,
    metadata: { name, namespace, labels, annotations },
    ...(spec !== undefined && { spec }),
  };
}

/** The resource, or why there is none. */
function attempt<T extends AnyResource | undefined>(convert: () => T): T | string {
  try {
    return convert();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.issues.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join("; ");
  }
}
