import { type Result, summary } from "./result.ts";

/** Median rates of the three ways with messages of one size. */
export interface Rates {
  readonly bytes: number;
  readonly host: number;
  readonly routed: number;
  readonly vxlan: number;
}

/**
 * What the curves are to be, in percent (pure): with each size VXLAN is at most what routed is; and from one size to the next routed
 * falls by a tenth at most, and where the host's own curve falls, by a tenth more than that.
 */
export function shape(curve: readonly Rates[]): Result[] {
  return curve.flatMap(({ bytes, host, routed, vxlan }, i) => {
    const before = curve[i - 1];
    const dip = before && 1 - routed / before.routed / Math.min(1, host / before.host);
    return [
      row("throughput: VXLAN of routed", { bytes, share: vxlan / routed, atMost: 100 }),
      ...(dip === undefined
        ? []
        : [row("throughput: dip of routed beside host", { bytes, share: Math.max(0, dip), atMost: 10 })]),
    ];
  });
}

const row = (
  benchmark: string,
  { bytes, share, atMost }: { bytes: number; share: number; atMost: number },
): Result => ({
  ...{ benchmark, subject: `${bytes} B`, unit: "%" },
  ...summary([share * 100]),
  target: { of: "p50", atMost },
});
