/** Prefixes that change in a table that is there: how long until each peer has heard of each. */
import { setTimeout as delay } from "node:timers/promises";
import { changeOf, withdrawalOf } from "./feed.ts";
import { keyOf, keysOfWire } from "./prefixes.ts";
import type { Peer } from "./rows.ts";
import type { SimulatedPeer } from "./speaker.ts";

const burst = 1000;
/** One after another. */
const perSecond = 500;
const restMs = 200;

/** Milliseconds from the change until it was heard, one for each prefix and peer. */
export interface Latencies {
  readonly bursts: readonly number[];
  readonly single: readonly number[];
}

export interface Scene {
  readonly feeder: { readonly peer: Peer; readonly session: SimulatedPeer };
  readonly sinks: readonly SimulatedPeer[];
}

/** A burst of each kind: withdrawn, announced, changed; then withdrawn and announced one after another. */
export async function churn({ feeder, sinks }: Scene): Promise<Latencies> {
  const { count = 0 } = feeder.peer.feeds ?? {};
  const chosen = Array.from({ length: Math.min(burst, count) }, (_, i) => Math.floor((i * count) / burst));
  const bursts: number[] = [];
  for (const version of [0, 1, 2]) {
    const bytes = version === 0 ? withdrawalOf(chosen) : changeOf(feeder.peer, chosen, version);
    bursts.push(
      ...(await heard(sinks, { prefixes: chosen, isGone: version === 0 }, (sent) => {
        const now = performance.now();
        for (const prefix of chosen) sent.set(keyOf(prefix), now);
        feeder.session.feed(bytes);
      })),
    );
  }
  const single: number[] = [];
  for (const version of [0, 3]) {
    const messages = chosen.map((prefix) =>
      version === 0 ? withdrawalOf([prefix]) : changeOf(feeder.peer, [prefix], version),
    );
    single.push(
      ...(await heard(sinks, { prefixes: chosen, isGone: version === 0 }, async (sent) => {
        const began = performance.now();
        for (const [i, bytes] of messages.entries()) {
          const wait = began + (i * 1000) / perSecond - performance.now();
          if (wait > 0) await delay(wait);
          sent.set(keyOf(chosen[i] ?? 0), performance.now());
          feeder.session.feed(bytes);
        }
      })),
    );
  }
  return { bursts, single };
}

interface Wanted {
  readonly prefixes: readonly number[];
  readonly isGone: boolean;
}

/** What one sink heard at a time, in ms, and where its prefixes were put. */
interface Notice {
  readonly sink: number;
  readonly at: number;
  readonly from: number;
  readonly to: number;
  readonly isGone: boolean;
}

/** For what a sink hears of a prefix: 4 bytes, a few times. */
const roomEach = 32;

/**
 * Until every sink has heard each prefix; what `send` has sent, and when, it notes. What was heard is only noted, and looked at
 * later: a sink that thinks keeps those after it from reading, of which the daemon's time would be the least.
 */
async function heard(
  sinks: readonly SimulatedPeer[],
  wanted: Wanted,
  send: (sent: Map<number, number>) => void | Promise<void>,
): Promise<number[]> {
  await delay(restMs);
  const sent = new Map<number, number>();
  const notices: Notice[] = [];
  const bytes = new Uint8Array(sinks.length * wanted.prefixes.length * roomEach);
  let from = 0;
  for (const [i, sink] of sinks.entries())
    sink.onHeard = (nlri, isGone) => {
      bytes.set(nlri, from);
      const to = from + nlri.length;
      notices.push({ sink: i, at: performance.now(), from, to, isGone });
      from = to;
    };
  await send(sent);
  for (;;) {
    await delay(restMs);
    const latencies = latenciesOf({ notices, bytes }, wanted, sent);
    if (latencies.length < sinks.length * wanted.prefixes.length) continue;
    for (const sink of sinks) sink.onHeard = undefined;
    return latencies;
  }
}

/** Of each prefix and sink: the first time that it was heard as wanted. */
function latenciesOf(
  { notices, bytes }: { readonly notices: readonly Notice[]; readonly bytes: Uint8Array },
  { prefixes, isGone }: Wanted,
  sent: ReadonlyMap<number, number>,
): number[] {
  const left = new Map<number, Set<number>>();
  const latencies: number[] = [];
  for (const { sink, at, from, to } of notices.filter((notice) => notice.isGone === isGone)) {
    const keys = left.get(sink) ?? new Set(prefixes.map(keyOf));
    left.set(sink, keys);
    for (const key of keysOfWire(bytes.subarray(from, to)))
      if (keys.delete(key)) latencies.push(at - (sent.get(key) ?? at));
  }
  return latencies;
}
