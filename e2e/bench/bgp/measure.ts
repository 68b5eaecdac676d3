/** One daemon at one row's work, with its peers simulated. */
import { setTimeout as delay } from "node:timers/promises";
import { churn, type Latencies } from "./churn.ts";
import { Daemon, type DaemonName, holdSecondsOf, listenAt } from "./daemons.ts";
import type { Row } from "./rows.ts";
import { SimulatedPeer } from "./speaker.ts";

const limitMs = 300_000;
/** How long a daemon is left alone once it listens: FRR lets peers in only when their start timers have run out. */
const graceMs = 3000;
/** Sessions that are opened at a time: FRR's listen backlog is short, and what overflows it comes again a second later. */
const window = 8;
/** After which the daemon's memory is looked at. */
const lingerMs = 1000;

export interface Sample {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytesEach: number;
  readonly residentMb: number;
  /** How late KEEPALIVEs were at most, for each session. */
  readonly latenessMs: readonly number[];
  readonly latencies?: Latencies;
}

export async function measure(name: DaemonName, row: Row, feeds: readonly Uint8Array[]): Promise<Sample> {
  const daemon = new Daemon(name, row);
  const run = new Run(name, row, feeds);
  try {
    await daemon.listening();
    await delay(graceMs);
    const idle = daemon.rssBytes;
    let from = { at: performance.now(), cpuMs: daemon.cpuMs };
    const restart = () => {
      from = { at: performance.now(), cpuMs: daemon.cpuMs };
    };
    await inTime(run.bringUp((peer) => !peer.late));
    let rss = idle;
    if (row.work !== "cold") {
      await delay(lingerMs);
      rss = daemon.rssBytes;
      restart();
      run.feed();
    }
    await inTime(run.done());
    if (row.work === "flap" || row.work === "join") restart();
    const latencies = await inTime(run.after());
    const [ms, cpuMs] = [performance.now() - from.at, daemon.cpuMs - from.cpuMs];
    await delay(lingerMs);
    const resident = daemon.rssBytes;
    return {
      ...{ ms, cpuMs, residentMb: resident / 2 ** 20 },
      bytesEach: (resident - rss) / row.prefixes,
      latenessMs: run.latenessMs,
      ...(latencies ? { latencies } : {}),
    };
  } finally {
    run.close();
    await daemon.stop();
  }
}

/** The peers of one run. */
class Run {
  readonly #name: DaemonName;
  readonly #row: Row;
  readonly #feeds: readonly Uint8Array[];
  readonly #sessions = new Map<number, SimulatedPeer>();

  constructor(name: DaemonName, row: Row, feeds: readonly Uint8Array[]) {
    this.#name = name;
    this.#row = row;
    this.#feeds = feeds;
  }

  /** Opens sessions, a few at a time, until all of those are up. */
  async bringUp(wanted: (peer: Row["peers"][number]) => boolean): Promise<void> {
    const { peers, work } = this.#row;
    const left = [...peers.keys()].filter((i) => wanted(peers[i]!) && !this.#sessions.has(i)); // in range
    const openNext = async (): Promise<void> => {
      const i = left.shift();
      if (i === undefined) return;
      const manner = { feed: this.#feeds[i]!, holdSeconds: holdSecondsOf(this.#name) }; // one for each peer
      const session = await SimulatedPeer.open(peers[i]!, listenAt, manner);
      this.#sessions.set(i, session);
      await session.up;
      if (work === "cold") session.feed();
      await openNext();
    };
    await Promise.all(Array.from({ length: window }, openNext));
  }

  feed(): void {
    for (const session of this.#sessions.values()) session.feed();
  }

  async done(): Promise<void> {
    await Promise.all(this.#all.map(({ done }) => done));
  }

  /** What the row does once the table is everywhere. */
  async after(): Promise<Latencies | undefined> {
    const { work, peers, prefixes } = this.#row;
    const [session, ...sinks] = this.#all;
    const [peer] = peers;
    if (!session || !peer) throw new Error(`${this.#row.name} has no peers`);
    if (work === "churn") return churn({ feeder: { peer, session }, sinks });
    if (work === "flap") {
      const gone = sinks.map((sink) => sink.withdrawn(prefixes));
      session.close();
      await Promise.all(gone);
    } else if (work === "join") {
      await this.bringUp(({ late }) => late === true);
      await this.done();
    }
    return undefined;
  }

  get latenessMs(): readonly number[] {
    const { work } = this.#row;
    return this.#all.slice(work === "flap" ? 1 : 0).map(({ latenessMs }) => latenessMs); // the feeder hears no more
  }

  close(): void {
    for (const session of this.#sessions.values()) session.close();
  }

  /** In the row's order: the feeder, where there is one, first. */
  get #all(): readonly SimulatedPeer[] {
    return [...this.#sessions].toSorted(([a], [b]) => a - b).map(([, session]) => session);
  }
}

async function inTime<T>(all: Promise<T>): Promise<T> {
  const late = new AbortController();
  const limit = delay(limitMs, undefined, { signal: late.signal }).then(() => {
    throw new Error(`not done after ${limitMs / 1000} s`);
  });
  limit.catch(() => {}); // aborted
  try {
    return await Promise.race([all, limit]);
  } finally {
    late.abort();
  }
}
