import type { WorkloadEndpoint } from "@margay/api";
import { CniError } from "./errors.ts";

export type QosControls = NonNullable<WorkloadEndpoint["spec"]["qosControls"]>;

/** Calico's, and the same under our own name, which wins. */
const PREFIXES = ["qos.margay.dev/", "qos.projectcalico.org/"] as const;

const LIMITS = [
  "ingressBandwidth",
  "ingressBurst",
  "ingressPeakrate",
  "ingressMinburst",
  "egressBandwidth",
  "egressBurst",
  "egressPeakrate",
  "egressMinburst",
  "ingressPacketRate",
  "ingressPacketBurst",
  "egressPacketRate",
  "egressPacketBurst",
  "ingressMaxConnections",
  "egressMaxConnections",
] as const satisfies readonly (keyof QosControls)[];

/** Kubernetes' own two (bandwidth plugin), where Calico's are not given. */
const KUBERNETES = {
  ingressBandwidth: "kubernetes.io/ingress-bandwidth",
  egressBandwidth: "kubernetes.io/egress-bandwidth",
} as const;

type Annotations = Readonly<Record<string, string>>;

/**
 * What a pod's annotations, and where those do not its namespace's, ask for (calico.md \u00a71.7); undefined when none does. Throws CniError
 * 7 for one that cannot be understood.
 */
export function qosOf(pod: Annotations, namespace: Annotations = {}): QosControls | undefined {
  const inPod = limitsIn(pod);
  const own = new Set(inPod.map(([limit]) => groupOf(limit)));
  const inherited = limitsIn(namespace).filter(([limit]) => !own.has(groupOf(limit)));
  const found = [...inherited, ...inPod];
  const dscp = dscpIn(pod) ?? dscpIn(namespace);
  if (found.length === 0 && dscp === undefined) return undefined;
  return { ...Object.fromEntries(found), ...(dscp !== undefined && { dscp }) };
}

/** A burst of the namespace's is not one of the pod's bandwidth: what belongs together comes from one place. */
const groupOf = (limit: string): string =>
  /^(ingress|egress)(Packet|MaxConnections)?/.exec(limit)?.[0] ?? limit;

function limitsIn(annotations: Annotations): (readonly [keyof QosControls, number])[] {
  const found = LIMITS.flatMap((limit) => {
    const kubernetes = limit in KUBERNETES ? KUBERNETES[limit as keyof typeof KUBERNETES] : undefined;
    const full =
      named(annotations, limit) ??
      (kubernetes !== undefined && annotations[kubernetes] !== undefined ? kubernetes : undefined);
    return full === undefined
      ? []
      : [[limit, quantity(full, annotations[full] ?? "", rangeOf(limit))] as const];
  });
  const values = new Map(found);
  for (const side of ["ingress", "egress"] as const) {
    refuseAlone(side, new Set(values.keys()));
    refuseSlowPeak(side, values);
  }
  return found;
}

const named = (annotations: Annotations, name: string): string | undefined =>
  PREFIXES.map((prefix) => prefix + name).find((full) => annotations[full] !== undefined);

/** Names of code points (RFC 2474, RFC 2597 AF, RFC 3246 EF, RFC 8622 LE); DF is CS0. */
const CODE_POINTS: Readonly<Record<string, number>> = {
  ...{ DF: 0, LE: 1, EF: 46, VA: 44 },
  ...Object.fromEntries([0, 1, 2, 3, 4, 5, 6, 7].map((n) => [`CS${n}`, n * 8])),
  ...Object.fromEntries([1, 2, 3, 4].flatMap((c) => [1, 2, 3].map((d) => [`AF${c}${d}`, c * 8 + d * 2]))),
};

/** A code point by number or name. */
function dscpIn(annotations: Annotations): number | undefined {
  const full = named(annotations, "dscp");
  if (full === undefined) return undefined;
  const text = annotations[full]?.trim() ?? "";
  const value = /^\d+$/.test(text) ? Number(text) : CODE_POINTS[text.toUpperCase()];
  if (value !== undefined && value <= 63) return value;
  throw new CniError(
    "invalid-configuration",
    `annotation ${full} must be 0 to 63 or a name such as EF or AF11; found ${JSON.stringify(text)}`,
  );
}

interface Range {
  readonly low: number;
  readonly high: number;
  readonly words: string;
}

const rangeOf = (limit: string): Range => {
  if (limit.endsWith("MaxConnections"))
    return { low: 1, high: 2 ** 32 - 1, words: "between 1 and 4294967295, such as 100" };
  if (/(?<!Packet)(Burst|Minburst)$/.test(limit))
    return { low: 1000, high: 2 ** 35, words: "between 1k and 32Gi, such as 64Ki" };
  return limit.includes("Packet")
    ? { low: 1, high: 10_000, words: "between 1 and 10k, such as 500" }
    : { low: 1000, high: 1e15, words: "between 1k and 1P, such as 10M" };
};

const FACTORS: Readonly<Record<string, number>> = {
  ...{ "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 },
};

/** A quantity as Kubernetes writes it: 10M, 1.5G, 512Ki. */
function quantity(name: string, text: string, { low, high, words }: Range): number {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?)([kMGTP]i?|Ki)?$/.exec(text.trim()) ?? [];
  const value = Math.round(Number(digits) * (FACTORS[unit] ?? Number.NaN));
  if (value >= low && value <= high) return value;
  throw new CniError(
    "invalid-configuration",
    `annotation ${name} must be a quantity ${words}; found ${JSON.stringify(text)}`,
  );
}

/** The kernel takes none such (tc-tbf). */
function refuseSlowPeak(side: "ingress" | "egress", given: ReadonlyMap<keyof QosControls, number>): void {
  const [bandwidth, peak] = [given.get(`${side}Bandwidth`), given.get(`${side}Peakrate`)];
  if (bandwidth === undefined || peak === undefined || peak > bandwidth) return;
  const why = `annotation ${side}Peakrate must be more than ${side}Bandwidth`;
  throw new CniError("invalid-configuration", why);
}

/** A burst or peak without a bandwidth has nothing to be a burst of. */
function refuseAlone(side: "ingress" | "egress", given: ReadonlySet<string>): void {
  const lone = [
    ...["Burst", "Peakrate", "Minburst"].map((name) => [side + name, `${side}Bandwidth`] as const),
    [`${side}PacketBurst`, `${side}PacketRate`] as const,
  ].find(([name, needed]) => given.has(name) && !given.has(needed));
  if (lone) throw new CniError("invalid-configuration", `annotation ${lone[0]} needs ${lone[1]} beside it`);
}
