import type { WorkloadEndpoint } from "@margay/api";

/** One token bucket (tc-tbf): what may pass through an interface's queue. */
export interface Bucket {
  /** Bits per second. */
  readonly rate: number;
  /** Bytes that may pass at once. */
  readonly burst: number;
  /** Bits per second of a burst, and bytes of it at once. */
  readonly peak?: { readonly rate: number; readonly burst: number };
}

/** Of a pod: what it may receive, in its host interface's queue; what it may send, in that of an ifb beside it. */
export interface Shaping {
  readonly receive?: Bucket;
  readonly send?: Bucket;
}

/** A burst that nobody asked for: so much of a second at full rate. Calico's 4 Gibit would be 43 s of 100 Mbit/s. */
const USUAL_BURST_SECONDS = 0.1;
const MOST_BURST_SECONDS = 274;
/** A bucket must hold the largest packet, which may be a whole segment before it is cut (GSO). */
const LEAST_BURST_BYTES = 65_536;
/** tc-tbf: at least one packet. */
const USUAL_PEAK_BURST_BYTES = 65_536;

/** Limits by host interface, of the endpoints that have any (pure). */
export function wantedShaping(endpoints: readonly WorkloadEndpoint[]): Map<string, Shaping> {
  return new Map(
    endpoints.flatMap(({ spec: { interfaceName, qosControls: qos } }) => {
      if (!qos) return [];
      const receive = bucketOf(qos.ingressBandwidth, qos.ingressBurst, [
        qos.ingressPeakrate,
        qos.ingressMinburst,
      ]);
      const send = bucketOf(qos.egressBandwidth, qos.egressBurst, [qos.egressPeakrate, qos.egressMinburst]);
      return receive || send ? [[interfaceName, { ...(receive && { receive }), ...(send && { send }) }]] : [];
    }),
  );
}

function bucketOf(
  rate: number | undefined,
  burstBits: number | undefined,
  [peakRate, peakBytes]: readonly [number | undefined, number | undefined],
): Bucket | undefined {
  if (rate === undefined) return undefined;
  const bytes = Math.max(LEAST_BURST_BYTES, Math.round((burstBits ?? rate * USUAL_BURST_SECONDS) / 8));
  const burst = atMost(rate, bytes);
  const peak = peakRate !== undefined &&
    !isSlow(peakRate, rate) && {
      rate: peakRate,
      burst: atMost(peakRate, peakBytes ?? USUAL_PEAK_BURST_BYTES),
    };
  return { rate, burst, ...(peak && { peak }) };
}

/** The kernel refuses such a peak (tc-tbf); CNI does before. */
const isSlow = (peakRate: number | undefined, rate: number | undefined): boolean =>
  peakRate !== undefined && rate !== undefined && peakRate <= rate;

/** Endpoints of which a peak is not above its bandwidth, and not set, by namespace and name (pure). */
export const withSlowPeak = (endpoints: readonly WorkloadEndpoint[]): string[] =>
  endpoints
    .filter(
      ({ spec: { qosControls: qos } }) =>
        isSlow(qos?.ingressPeakrate, qos?.ingressBandwidth) ||
        isSlow(qos?.egressPeakrate, qos?.egressBandwidth),
    )
    .map(({ metadata: { namespace, name } }) => `${namespace}/${name}`);

/** tc-tbf keeps a burst in 32 bits, and as a time in 32 bits of 64 ns: more is refused, or becomes little. */
const atMost = (rate: number, bytes: number): number =>
  Math.min(bytes, 2 ** 32 - 1, Math.floor((rate / 8) * MOST_BURST_SECONDS));

/** At most 15 bytes, and found again from the pod's interface. */
export const ifbOf = (interfaceName: string): string => `ifb-${interfaceName.slice(-11)}`;
