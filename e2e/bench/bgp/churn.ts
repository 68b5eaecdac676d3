/** Prefixes that change in a table that is there: how long until each peer has heard of each. */
import { setTimeout as delay } from "node:timers/promises";
import { changeOf, withdrawalOf } from "./feed.ts";
import { keyOf } from "./prefixes.ts";
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

/** Until every sink has heard each prefix; what `send` has sent, and when, it notes. */
async function heard(
  sinks: readonly SimulatedPeer[],
  { prefixes, isGone: wanted }: Wanted,
  send: (sent: Map<number, number>) => void | Promise<void>,
): Promise<number[]> {
  await delay(restMs);
  const sent = new Map<number, number>();
  const latencies: number[] = [];
  const all = Promise.withResolvers<void>();
  for (const sink of sinks) {
    const left = new Set(prefixes.map(keyOf));
    sink.onHeard = (key, isGone) => {
      const at = sent.get(key);
      if (isGone !== wanted || at === undefined || !left.delete(key)) return;
      if (latencies.push(performance.now() - at) === sinks.length * prefixes.length) all.resolve();
    };
  }
  await send(sent);
  await all.promise;
  for (const sink of sinks) sink.onHeard = undefined;
  return latencies;
}
