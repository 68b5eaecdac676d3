import type { KubernetesObject } from "@margay/kubernetes";
import type { Family } from "@margay/net";

/** What of a Service of type LoadBalancer its addresses depend on. */
export interface BalancerFacts {
  /** "namespace/name". */
  readonly name: string;
  readonly version: string | undefined;
  readonly uid: string | undefined;
  readonly created: string;
  readonly families: readonly Family[];
  /** A second family may be missing where no pool has it. */
  readonly isSecondOptional: boolean;
  /** Asked for by name, one of a family. */
  readonly asked: readonly string[];
  /** Names of pools; empty: any. */
  readonly pools: readonly string[];
  /** Services with the same key may share an address, each with ports of its own. */
  readonly sharingKey: string | undefined;
  /** "TCP/80". */
  readonly ports: readonly string[];
  /** What its status says now. */
  readonly current: readonly string[];
}

/** Each first ours, then others' that people know. */
const ANNOTATIONS = {
  asked: ["margay.dev/load-balancer-ips", "projectcalico.org/loadBalancerIPs"],
  pools4: ["margay.dev/ipv4pools", "projectcalico.org/ipv4pools"],
  pools6: ["margay.dev/ipv6pools", "projectcalico.org/ipv6pools"],
  sharing: ["margay.dev/shared-ip", "metallb.io/allow-shared-ip"],
} as const;

interface Spec {
  readonly type?: string;
  readonly loadBalancerClass?: string;
  readonly loadBalancerIP?: string;
  readonly ipFamilies?: readonly string[];
  readonly ipFamilyPolicy?: string;
  readonly ports?: readonly { readonly protocol?: string; readonly port: number }[];
}

/** Undefined for a Service that is none of ours: of another type, or of another class. */
export function balancerFacts(object: KubernetesObject, ourClass: string): BalancerFacts | undefined {
  const { metadata } = object;
  const spec = (object.spec ?? {}) as Spec;
  if (spec.type !== "LoadBalancer" || (spec.loadBalancerClass ?? ourClass) !== ourClass) return undefined;
  const { loadBalancer } = (object.status ?? {}) as { loadBalancer?: { ingress?: { ip?: string }[] } };
  const said = (names: readonly string[]) =>
    names.map((name) => metadata.annotations?.[name]).find((text) => text !== undefined);
  const asked = listIn(said(ANNOTATIONS.asked));
  return {
    name: `${metadata.namespace}/${metadata.name}`,
    ...{ version: metadata.resourceVersion, uid: metadata.uid, created: metadata.creationTimestamp ?? "" },
    families: (spec.ipFamilies ?? ["IPv4"]).map((family) => (family === "IPv6" ? 6 : 4)),
    isSecondOptional: spec.ipFamilyPolicy !== "RequireDualStack",
    asked: asked.length > 0 || !spec.loadBalancerIP ? asked : [spec.loadBalancerIP],
    pools: [...listIn(said(ANNOTATIONS.pools4)), ...listIn(said(ANNOTATIONS.pools6))],
    sharingKey: said(ANNOTATIONS.sharing),
    ports: (spec.ports ?? []).map(({ protocol = "TCP", port }) => `${protocol}/${port}`),
    current: (loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip ? [ip] : [])),
  };
}

/** A JSON list as Calico's annotations are, or words with commas. */
function listIn(text: string | undefined): string[] {
  if (!text) return [];
  try {
    const read: unknown = JSON.parse(text);
    if (Array.isArray(read)) return read.filter((one) => typeof one === "string");
  } catch {
    // words, then
  }
  return text.split(",").map((word) => word.trim());
}
