/**
 * One row of the BGP comparison, every daemon in the same run, in a network namespace of its own.
 *
 *     main.ts <row> quick|full      prints JSON lines (../result.ts)
 */
import { loadavg } from "node:os";
import { type Result, summary } from "../result.ts";
import { type DaemonName, isInstalled } from "./daemons.ts";
import { feedOf } from "./feed.ts";
import { measure, type Sample } from "./measure.ts";
import { inOwnNetwork } from "./own-network.ts";
import { type Row, rows } from "./rows.ts";

const repeats = { quick: 1, full: 3 } as const;
/** Repeats begin no more once a row has taken so long: some daemons take minutes for one. */
const longMs = 30_000;

async function run(row: Row, size: keyof typeof repeats): Promise<void> {
  const feeds = row.peers.map(feedOf);
  const names = daemonsOf(row);
  const missing = names.find((name) => !isInstalled(name));
  if (missing) throw new Error(`${missing} is not installed`);
  const samples = new Map<DaemonName, Sample[]>(names.map((name) => [name, []]));
  const began = performance.now();
  for (let i = 0; i < repeats[size] && performance.now() - began < longMs; i++)
    for (const name of names) {
      const sample = await measure(name, row, feeds);
      process.stderr.write(`${row.name} ${name}: ${Math.round(sample.ms)} ms, CPU ${sample.cpuMs} ms\n`);
      samples.get(name)?.push(sample);
    }
  for (const { target, ...result } of resultsOf(row, samples)) {
    // Targets are those of the full size: a tenth of it is over before V8 has compiled anything.
    const line = target && size === "full" ? { ...result, target } : result;
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}

/** Ours last. */
const daemonsOf = ({ against: { daemon, beside } }: Row): DaemonName[] => [
  daemon,
  ...(beside ? [beside] : []),
  "margay",
];

type Samples = ReadonlyMap<DaemonName, readonly Sample[]>;

function* resultsOf(row: Row, samples: Samples): Generator<Result> {
  const load = Math.round((loadavg()[0] ?? 0) * 100) / 100;
  const one = (subject: string, unit: Result["unit"], values: readonly number[]) => ({
    ...{ benchmark: row.name, subject, unit, load },
    ...summary(values),
  });
  const of = (name: DaemonName) => samples.get(name) ?? [];
  const { daemon, atMost, beside } = row.against;
  const isChurn = row.work === "churn";
  for (const name of daemonsOf(row)) {
    const limits = name === "margay" ? row : undefined;
    if (!isChurn) {
      yield one(
        name,
        "ms",
        of(name).map((s) => s.ms),
      );
      yield one(
        `${name} CPU`,
        "ms",
        of(name).map((s) => s.cpuMs),
      );
    }
    yield bounded(
      one(
        `${name} per prefix`,
        "B",
        of(name).map((s) => s.bytesEach),
      ),
      limits?.bytesAtMost,
    );
    yield bounded(
      one(
        `${name} resident`,
        "MB",
        of(name).map((s) => s.residentMb),
      ),
      limits?.residentAtMost,
    );
    if (isChurn) {
      const latencies = (kind: "bursts" | "single") => of(name).flatMap((s) => s.latencies?.[kind] ?? []);
      yield one(`${name} bursts`, "ms", latencies("bursts"));
      const single = one(`${name} one by one`, "ms", latencies("single"));
      yield limits ? { ...single, target: { of: "p99", atMost: singleAtMostMs } } : single;
    }
  }
  const late = one(
    "margay keepalives late",
    "ms",
    of("margay").flatMap((s) => s.latenessMs),
  );
  yield { ...late, target: { of: "p99", atMost: lateAtMostMs } };
  if (isChurn) yield* ratiosOfBursts(row, samples, one);
  else {
    const ratio = (other: DaemonName, what: "ms" | "cpuMs") =>
      of("margay").map((sample, i) => (100 * sample[what]) / (of(other)[i]?.[what] ?? Number.NaN));
    yield bounded(one(`margay / ${daemon}`, "%", ratio(daemon, "ms")), atMost);
    yield one(`margay / ${daemon} CPU`, "%", ratio(daemon, "cpuMs"));
    if (beside) yield one(`margay / ${beside}`, "%", ratio(beside, "ms"));
  }
}

const bounded = (result: Omit<Result, "target">, atMost: number | undefined): Result =>
  atMost === undefined ? result : { ...result, target: { of: "p50", atMost } };

/** Of the percentiles, run by run. */
function* ratiosOfBursts(
  { against: { daemon, atMost } }: Row,
  samples: Samples,
  one: (subject: string, unit: Result["unit"], values: readonly number[]) => Omit<Result, "target">,
): Generator<Result> {
  const bursts = (name: DaemonName) =>
    (samples.get(name) ?? []).map((s) => summary(s.latencies?.bursts ?? []));
  for (const percentile of ["p50", "p99"] as const) {
    const theirs = bursts(daemon).map((s) => s[percentile]);
    const ratios = bursts("margay").map((s, i) => (100 * s[percentile]) / (theirs[i] ?? Number.NaN));
    yield bounded(one(`margay / ${daemon} bursts ${percentile}`, "%", ratios), atMost);
  }
}

const singleAtMostMs = 1;
const lateAtMostMs = 1000;

const [name, size] = process.argv.slice(2);
const row = rows(size === "quick").find((r) => r.name === name);
if (!row) throw new Error(`no row ${name}`);
await inOwnNetwork(() => run(row, size === "quick" ? "quick" : "full"));
