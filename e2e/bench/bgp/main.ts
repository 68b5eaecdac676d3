/**
 * One row of the BGP comparison, every daemon in the same run, in a network namespace of its own.
 *
 *     main.ts <row> quick|full      prints JSON lines (../result.ts)
 */
import { spawnSync } from "node:child_process";
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { type Result, summary } from "../result.ts";
import { Daemon, type DaemonName, isInstalled, listenAt } from "./daemons.ts";
import { feedOf } from "./feed.ts";
import { type Row, rows } from "./rows.ts";
import { SimulatedPeer } from "./speaker.ts";

const repeats = { quick: 1, full: 3 } as const;
const limitMs = 300_000;
/** How long a daemon is left alone once it listens: FRR lets peers in only when their start timers have run out. */
const graceMs = 3000;
/** Sessions that are opened at a time: FRR's listen backlog is short, and what overflows it comes again a second later. */
const window = 8;
/** After which the daemon's memory is looked at. */
const lingerMs = 1000;

interface Sample {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytesEach: number;
}

/** From the first byte of the feed (cold: from the first connection) until every peer has heard all that it wants. */
async function measure(name: DaemonName, row: Row, feeds: readonly Uint8Array[]): Promise<Sample> {
  const daemon = new Daemon(name, row);
  const peers: SimulatedPeer[] = [];
  const open = (i: number) => SimulatedPeer.open(row.peers[i]!, feeds[i]!, listenAt); // in range
  try {
    await daemon.listening();
    await delay(graceMs);
    peers.push(await open(0));
    let [began, cpu, rss] = [performance.now(), daemon.cpuMs, daemon.rssBytes];
    let next = 1;
    const bringUp = async (peer: SimulatedPeer): Promise<void> => {
      await peer.up;
      if (row.cold) peer.feed();
      if (next >= row.peers.length) return;
      const another = await open(next++);
      peers.push(another);
      await bringUp(another);
    };
    const starters = Array.from({ length: Math.min(window, row.peers.length) - 1 }, () => open(next++));
    peers.push(...(await Promise.all(starters)));
    await inTime(Promise.all(peers.map(bringUp)));
    if (!row.cold) {
      await delay(lingerMs);
      [began, cpu, rss] = [performance.now(), daemon.cpuMs, daemon.rssBytes];
      for (const peer of peers) peer.feed();
    }
    await inTime(Promise.all(peers.map((p) => p.done)));
    const [ms, cpuMs] = [performance.now() - began, daemon.cpuMs - cpu];
    await delay(lingerMs);
    return { ms, cpuMs, bytesEach: (daemon.rssBytes - rss) / row.prefixes };
  } finally {
    for (const peer of peers) peer.close();
    await daemon.stop();
  }
}

async function inTime(all: Promise<unknown>): Promise<void> {
  const late = new AbortController();
  const limit = delay(limitMs, "late", { signal: late.signal }).catch(() => "in time");
  const first = await Promise.race([all, limit]);
  late.abort();
  if (first === "late") throw new Error(`not done after ${limitMs / 1000} s`);
}

async function run(row: Row, size: keyof typeof repeats): Promise<void> {
  const feeds = row.peers.map(feedOf);
  const names: DaemonName[] = [row.against.daemon, "margay"];
  const missing = names.find((name) => !isInstalled(name));
  if (missing) throw new Error(`${missing} is not installed`);
  const samples = new Map<DaemonName, Sample[]>(names.map((name) => [name, []]));
  for (let i = 0; i < repeats[size]; i++)
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

function* resultsOf(row: Row, samples: ReadonlyMap<DaemonName, readonly Sample[]>): Generator<Result> {
  const load = Math.round((loadavg()[0] ?? 0) * 100) / 100;
  const of = (name: DaemonName, what: keyof Sample) => samples.get(name)?.map((s) => s[what]) ?? [];
  const one = (subject: string, unit: Result["unit"], values: readonly number[]) => ({
    ...{ benchmark: row.name, subject, unit, load },
    ...summary(values),
  });
  const { daemon, atMost } = row.against;
  for (const name of [daemon, "margay"] as const) {
    yield one(name, "ms", of(name, "ms"));
    yield one(`${name} CPU`, "ms", of(name, "cpuMs"));
    const limit = name === "margay" ? row.bytesAtMost : undefined;
    const bytes = one(`${name} per prefix`, "B", of(name, "bytesEach"));
    yield limit === undefined ? bytes : { ...bytes, target: { of: "p50", atMost: limit } };
  }
  const ratio = (what: "ms" | "cpuMs") =>
    of("margay", what).map((value, i) => (100 * value) / (of(daemon, what)[i] ?? Number.NaN));
  yield { ...one(`margay / ${daemon}`, "%", ratio("ms")), target: { of: "p50", atMost } };
  yield one(`margay / ${daemon} CPU`, "%", ratio("cpuMs"));
}

const inside = "MARGAY_BENCH_NAMESPACE";
const [name, size] = process.argv.slice(2);
const row = rows(size === "quick").find((r) => r.name === name);
if (!row) throw new Error(`no row ${name}`);
if (process.env[inside]) {
  spawnSync("ip", ["link", "set", "lo", "up"]);
  await run(row, size === "quick" ? "quick" : "full");
} else {
  const words = [
    "-rn",
    "--kill-child",
    "--",
    process.execPath,
    ...process.execArgv,
    ...process.argv.slice(1),
  ];
  const env = { ...process.env, [inside]: "1" };
  process.exitCode = spawnSync("unshare", words, { stdio: "inherit", env }).status ?? 1;
}
