/** One measured thing; one JSON line. */
export interface Result {
  /** `pod-add-sequential` and the like: what `--only` names. */
  readonly benchmark: string;
  /** `margay`, or what it is compared with. */
  readonly subject: string;
  /** How many samples. */
  readonly n: number;
  readonly unit: "ms" | "µs" | "MB" | "%" | "1/s" | "B" | "Mbit/s" | "s/Gbit" | "writes";
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** The machine's load average over the last minute, when it ended: figures of a busy machine say little. */
  readonly load?: number;
  /** What the project wants of p50 or p99, in `unit`. */
  readonly target?: { readonly of: "p50" | "p99"; readonly atMost: number };
}

/** Sums up samples: nearest-rank percentiles. RangeError if there are none. */
export function summary(samples: readonly number[]): Pick<Result, "n" | "p50" | "p99" | "max"> {
  if (samples.length === 0) throw new RangeError("no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = (p: number) => round(sorted[Math.ceil(p * sorted.length) - 1] ?? Number.NaN);
  return { n: sorted.length, p50: rank(0.5), p99: rank(0.99), max: rank(1) };
}

const round = (value: number): number => Math.round(value * 100) / 100;

/** Whether a result keeps its target; undefined if it has none. */
export function kept({ target, ...result }: Result): boolean | undefined {
  return target && result[target.of] <= target.atMost;
}

/** A table for people. */
export function table(results: readonly Result[]): string {
  const head = ["benchmark", "subject", "n", "p50", "p99", "max", "unit", "load", "target"];
  const rows = results.map((r) => [
    r.benchmark,
    r.subject,
    `${r.n}`,
    ...[r.p50, r.p99, r.max].map((value) => value.toFixed(value < 10 ? 2 : 1)),
    r.unit,
    `${r.load ?? ""}`,
    r.target ? `${r.target.of} <= ${r.target.atMost} ${kept(r) ? "kept" : "MISSED"}` : "",
  ]);
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
