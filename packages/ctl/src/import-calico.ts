import { type AnyResource, ApiError, definitionOf, parse } from "@margay/api";
import type { Located } from "./documents.ts";

/** One object as it was found. */
export interface Found {
  /** "file.yaml:12", or the API's path. */
  readonly origin: string;
  readonly document: unknown;
}

/** What becomes of one object. */
export interface Judged {
  readonly what: string;
  readonly outcome: "imported" | "skipped" | "refused";
  /** What has no equivalent, or why it is left out; empty when nothing is lost. */
  readonly notes: readonly string[];
}

export interface Conversion {
  readonly resources: readonly Located[];
  readonly report: readonly Judged[];
}

interface Document {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: object;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** Kinds that have no place in Margay, and where what they say went. */
const WITHOUT_PLACE: Readonly<Record<string, string>> = {
  ClusterInformation: "Margay keeps its own",
  CalicoNodeStatus: "`margay bgp peers` and `margay node status` tell",
  Node: "the controllers make Nodes of Kubernetes' nodes; annotations there name AS and cluster ID",
  WorkloadEndpoint: "CNI makes them, pod by pod (docs/guide: moving)",
  BlockAffinity: "blocks are claimed anew; to keep pods' addresses see docs/guide: moving",
  IPAMBlock: "addresses are given anew; to keep pods' addresses see docs/guide: moving",
  IPAMHandle: "Margay has no handle objects: the block says who holds an address",
  LiveMigration: "moving virtual machines is not there",
  KubernetesNetworkPolicy: "the controllers make them of Kubernetes' own",
  KubernetesClusterNetworkPolicy: "the controllers make them of Kubernetes' own",
};

/** Names that Calico's CRDs use for kinds that its API, and we, call otherwise. */
const RENAMED: Readonly<Record<string, string>> = { IPAMConfig: "IPAMConfiguration" };

const GROUPS = ["projectcalico.org/v3", "crd.projectcalico.org/v1"];

/** Calico's objects as ours (pure): everything is judged, nothing is dropped in silence. */
export function convertCalico(found: readonly Found[]): Conversion {
  const judged = found.map(judge);
  return {
    resources: judged.flatMap(({ resource }) => resource ?? []),
    report: judged.map(({ judged: one }) => one),
  };
}

function judge({ origin, document }: Found): { judged: Judged; resource?: Located } {
  const { apiVersion = "", kind: given = "", metadata = {}, spec } = (document ?? {}) as Document;
  const kind = RENAMED[given] ?? given;
  const what = [kind || "(no kind)", metadata.namespace, metadata.name].filter(Boolean).join("/");
  const out = (outcome: Judged["outcome"], ...notes: string[]) => ({ judged: { what, outcome, notes } });
  if (!GROUPS.includes(apiVersion)) return out("skipped", `${apiVersion || "no apiVersion"} is not Calico's`);
  if (kind === "KubeControllersConfiguration") return out("skipped", ...controllersFlags(spec ?? {}));
  const place = WITHOUT_PLACE[kind] ?? generated(kind, metadata.name ?? "");
  if (place !== undefined) return out("skipped", place);
  const definition = definitionOf(kind);
  if (definition?.kind !== kind) return out("skipped", `Margay has no ${kind}`);
  const notes: string[] = [];
  const changed = { apiVersion: "projectcalico.org/v3", kind, metadata: ownMetadata(metadata) };
  try {
    const converted = { ...changed, spec: equivalents(kind, spec ?? {}, notes) };
    const { resource, warnings } = parse(converted, origin);
    notes.push(
      ...warnings.map((text) => text.replace(/: unknown field.*/, " has no equivalent: it has no effect")),
    );
    const known = definition.schema.parse(resource) as AnyResource; // kubectl refuses a field that the CRD has not
    return { judged: { what, outcome: "imported", notes }, resource: { origin, resource: known } };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return out("refused", ...error.issues.map(({ path, message }) => `${path}: ${message}`));
  }
}

/** What other objects give rise to by themselves. */
function generated(kind: string, name: string): string | undefined {
  if (kind === "Profile" && /^(kns|ksa)\./.test(name))
    return "the controllers make it of the namespace or service account";
  if (kind === "Profile" && name === "projectcalico-default-allow") return "Calico's own";
  if (kind === "NetworkPolicy" && name.startsWith("knp.default."))
    return "the controllers make it of Kubernetes' NetworkPolicy";
  if (kind === "HostEndpoint" && name.endsWith("-auto-hep")) return "Calico's controllers made it";
  return undefined;
}

/** Calico's CRDs keep an object's true labels and annotations in an annotation. */
function ownMetadata({
  name,
  namespace,
  labels,
  annotations = {},
}: NonNullable<Document["metadata"]>): object {
  const { "projectcalico.org/metadata": stored, ...others } = annotations;
  const { labels: ownLabels, annotations: ownAnnotations } = stored === undefined ? {} : readJson(stored);
  const { "kubectl.kubernetes.io/last-applied-configuration": _, ...rest } = { ...others, ...ownAnnotations };
  const all = { ...labels, ...ownLabels };
  return {
    ...{ name, namespace },
    ...(Object.keys(all).length > 0 && { labels: all }),
    ...(Object.keys(rest).length > 0 && { annotations: rest }),
  };
}

function readJson(text: string): { labels?: object; annotations?: Record<string, string> } {
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === "object" && read !== null ? read : {};
  } catch {
    return {}; // somebody else's annotation of that name
  }
}

/** What a KubeControllersConfiguration says that is not the default, and what says it here. */
function controllersFlags(spec: object): string[] {
  const { node, loadBalancer } = (spec as { controllers?: Controllers }).controllers ?? {};
  const { leakGracePeriod, hostEndpoint } = node ?? {};
  return [
    "these are flags of `margay controllers`",
    ...(leakGracePeriod ? [`leakGracePeriod ${leakGracePeriod}: --leak-grace-period, in seconds`] : []),
    ...(hostEndpoint?.autoCreate === "Enabled"
      ? ["hostEndpoint.autoCreate Enabled: --auto-host-endpoints"]
      : []),
    ...(hostEndpoint?.templates ? ["hostEndpoint.templates: no equivalent; write HostEndpoints"] : []),
    ...(loadBalancer?.assignIPs === "RequestedServicesOnly"
      ? ["loadBalancer.assignIPs RequestedServicesOnly: assignmentMode Manual of the pool"]
      : []),
  ];
}

interface Controllers {
  readonly node?: {
    readonly leakGracePeriod?: string;
    readonly hostEndpoint?: { readonly autoCreate?: string; readonly templates?: object };
  };
  readonly loadBalancer?: { readonly assignIPs?: string };
}

/** A pool's fields of Calico's first API as those of today (calico.md §1.2). */
function withoutOldNames(spec: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { ipip, "nat-outgoing": nat, ...rest } = spec;
  const { enabled, mode } = (ipip ?? {}) as { enabled?: boolean; mode?: string };
  const ipipMode = enabled ? (mode === "cross-subnet" ? "CrossSubnet" : "Always") : undefined;
  return { ...(ipipMode && { ipipMode }), ...(nat !== undefined && { natOutgoing: nat }), ...rest };
}

/** The spec with what we do otherwise put as we do it; each such change is noted. */
function equivalents(kind: string, spec: Readonly<Record<string, unknown>>, notes: string[]): object {
  if (kind === "IPPool") {
    const { ipipMode = "Never", vxlanMode, ...rest } = withoutOldNames(spec);
    if (ipipMode === "Never") return { ...rest, ...(vxlanMode !== undefined && { vxlanMode }) };
    notes.push(`ipipMode ${ipipMode}: there is no IP-in-IP; VXLAN with the same mode in its place`);
    return {
      ...rest,
      ipipMode: "Never",
      vxlanMode: vxlanMode === "Never" || !vxlanMode ? ipipMode : vxlanMode,
    };
  }
  if (kind === "IPAMConfiguration" && spec.maxBlocksPerHost && !spec.strictAffinity) {
    const { maxBlocksPerHost, ...rest } = spec;
    notes.push(
      `maxBlocksPerHost ${maxBlocksPerHost}: no limit here, where nodes may borrow (strictAffinity false)`,
    );
    return rest;
  }
  if ((kind === "BGPPeer" && spec.password) || (kind === "BGPConfiguration" && spec.nodeMeshPassword))
    notes.push("its Secret must be among those that the chart mounts (values: secrets of BGP sessions)");
  if (kind === "FelixConfiguration" && spec.bpfEnabled === true)
    notes.push("bpfEnabled: there is no eBPF dataplane; nftables or iptables enforce");
  if (kind === "FelixConfiguration" && spec.wireguardEnabled === true)
    notes.push("wireguardEnabled: traffic between nodes is not encrypted");
  return spec;
}
