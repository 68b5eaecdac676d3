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
] as const satisfies readonly (keyof QosControls)[];

/** Kubernetes' own two (bandwidth plugin), where Calico's are not given. */
const KUBERNETES = {
  ingressBandwidth: "kubernetes.io/ingress-bandwidth",
  egressBandwidth: "kubernetes.io/egress-bandwidth",
} as const;

/** Known to Calico and not enforced here: refused, rather than ignored. */
const UNSUPPORTED = ["ingressMaxConnections", "egressMaxConnections", "dscp"];

/**
 * Limits that a pod's annotations ask for (calico.md \u00a71.7); undefined when none does. Throws CniError 2 for one that is
 * not enforced, 7 for one that cannot be understood.
 */
export function qosOf(annotations: Readonly<Record<string, string>>): QosControls | undefined {
  const named = (name: string) =>
    PREFIXES.map((prefix) => prefix + name).find((full) => annotations[full] !== undefined);
  for (const name of UNSUPPORTED) {
    const full = named(name);
    if (full)
      throw new CniError("unsupported-field", `annotation ${full} = ${annotations[full]} is not supported`);
  }
  const found = LIMITS.flatMap((limit) => {
    const kubernetes = limit in KUBERNETES ? KUBERNETES[limit as keyof typeof KUBERNETES] : undefined;
    const full =
      named(limit) ??
      (kubernetes !== undefined && annotations[kubernetes] !== undefined ? kubernetes : undefined);
    return full === undefined
      ? []
      : [[limit, quantity(full, annotations[full] ?? "", rangeOf(limit))] as const];
  });
  for (const side of ["ingress", "egress"] as const)
    refuseAlone(side, new Set(found.map(([limit]) => limit)));
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

interface Range {
  readonly low: number;
  readonly high: number;
  readonly words: string;
}

const rangeOf = (limit: string): Range =>
  limit.includes("Packet")
    ? { low: 1, high: 10_000, words: "between 1 and 10k, such as 500" }
    : { low: 1000, high: 1e15, words: "between 1k and 1P, such as 10M" };

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

/** A burst or peak without a bandwidth has nothing to be a burst of. */
function refuseAlone(side: "ingress" | "egress", given: ReadonlySet<string>): void {
  const lone = [
    ...["Burst", "Peakrate", "Minburst"].map((name) => [side + name, `${side}Bandwidth`] as const),
    [`${side}PacketBurst`, `${side}PacketRate`] as const,
  ].find(([name, needed]) => given.has(name) && !given.has(needed));
  if (lone) throw new CniError("invalid-configuration", `annotation ${lone[0]} needs ${lone[1]} beside it`);
}
