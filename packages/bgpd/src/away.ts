/**
 * Peers that are away and whose routes are kept meanwhile: the receiving speaker of RFC 4724 §4.2 and of RFC 9494 §4.2.
 *
 *     session ended ── restart time ──▶ long-lived stale time ──▶ forgotten
 *                            │                    │
 *                            └── back: stale until End-of-RIB, swept at once where forwarding was lost
 */
import { longLived, type Negotiated, type Rib, type Route, type Source } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Presence } from "./presence.ts";

type Ribs = Readonly<Record<Family, Rib>>;

const families = [4, 6] as const;

/** A peer that is back and never says End-of-RIB: its stale routes go after so long (RFC 4724 §4.2 leaves the bound to us). */
export const stalePathSeconds = 360;

interface Kept {
  readonly presence: Presence;
  /** The restart time, then the long-lived time of each family. */
  readonly timers: Set<NodeJS.Timeout>;
  isLongLived: boolean;
}

export class Away {
  readonly #ribs: Ribs;
  readonly #onChanged: () => void;
  readonly #kept = new Map<string, Kept>();
  readonly #returned = new Map<Source, NodeJS.Timeout>();

  /** `onChanged`: time is over for some routes, decide again. */
  constructor(ribs: Ribs, onChanged: () => void) {
    this.#ribs = ribs;
    this.#onChanged = onChanged;
  }

  sourceOf(key: string): Source | undefined {
    return this.#kept.get(key)?.presence.source;
  }

  /** The peer restarts; its routes stay for as long as it asked. */
  keep(key: string, presence: Presence): void {
    const { source, negotiated } = presence;
    this.#forgetReturn(source);
    for (const family of families) this.#ribs[family].markStale(source);
    const kept: Kept = { presence, timers: new Set(), isLongLived: false };
    this.#kept.set(key, kept);
    const seconds = negotiated.gracefulRestart?.restartTimeSeconds ?? 0;
    after(seconds, kept.timers, () => this.#restartTimeOver(key, kept));
  }

  /** It is back: stale routes of families whose forwarding state it lost go at once, the others wait for End-of-RIB. */
  takeBack(key: string, presence: Presence): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    const { source, negotiated, ended } = presence;
    this.#release(key);
    const forwarding = forwardingOf(negotiated, kept.isLongLived);
    for (const family of families) {
      this.#ribs[family].rename(kept.presence.source, source);
      if (!forwarding.includes(family)) this.#ribs[family].sweepStale(source);
    }
    const bound = setTimeout(() => {
      this.#returned.delete(source);
      for (const family of families) if (!ended.has(family)) this.#ribs[family].sweepStale(source);
      this.#onChanged();
    }, stalePathSeconds * 1000);
    this.#returned.set(source, bound);
  }

  /** The session of a peer that was taken back is over, or nothing of it is left to wait for. */
  #forgetReturn(source: Source): void {
    clearTimeout(this.#returned.get(source));
    this.#returned.delete(source);
  }

  /** What is kept of it goes. */
  forget(key: string): void {
    const source = this.sourceOf(key);
    if (!source) return;
    this.#release(key);
    for (const family of families) this.#ribs[family].forget(source);
    this.#onChanged();
  }

  stop(): void {
    for (const key of [...this.#kept.keys()]) this.#release(key);
    for (const source of [...this.#returned.keys()]) this.#forgetReturn(source);
  }

  /** RFC 9494 §4.2: what may live longer becomes a last resort, the rest goes. */
  #restartTimeOver(key: string, kept: Kept): void {
    const { source, negotiated } = kept.presence;
    const longer = negotiated.longLived?.filter((f) => f.staleTimeSeconds > 0) ?? [];
    if (longer.length === 0) {
      this.forget(key);
      return;
    }
    kept.isLongLived = true;
    for (const family of families) {
      const times = longer.find((f) => f.family === family);
      if (!times) {
        this.#ribs[family].forget(source);
        continue;
      }
      makeLastResort(this.#ribs[family], source);
      after(times.staleTimeSeconds, kept.timers, () => this.#longLivedTimeOver(key, kept, family));
    }
    this.#onChanged();
  }

  #longLivedTimeOver(key: string, kept: Kept, family: Family): void {
    if (kept.timers.size === 0) this.forget(key);
    else this.#ribs[family].forget(kept.presence.source);
    this.#onChanged();
  }

  #release(key: string): void {
    for (const timer of this.#kept.get(key)?.timers ?? []) clearTimeout(timer);
    this.#kept.delete(key);
  }
}

/** Runs `then` after `seconds`; until then its timer is in `timers`. */
function after(seconds: number, timers: Set<NodeJS.Timeout>, then: () => void): void {
  const timer = setTimeout(() => {
    timers.delete(timer);
    then();
  }, seconds * 1000);
  timers.add(timer);
}

/** RFC 4724 §4.2, RFC 9494 §4.2: families whose routes the peer still forwards, by its F bits. */
function forwardingOf({ gracefulRestart, longLived: llgr }: Negotiated, isLongLived: boolean): Family[] {
  const announced = isLongLived ? llgr : gracefulRestart?.families;
  return announced?.flatMap((f) => (f.forwarding ? [f.family] : [])) ?? [];
}

/** Marks every route of the source LLGR_STALE; those that bear NO_LLGR go. All stay stale. */
function makeLastResort(rib: Rib, source: Source): void {
  const made = new Map<Route, Route | undefined>();
  rib.eachOf(source, (id, route, pathId) => {
    if (!made.has(route)) made.set(route, lastResort(route));
    const next = made.get(route);
    if (next) rib.put(id, next, pathId);
    else rib.remove(source, id, pathId);
  });
  rib.markStale(source);
}

function lastResort(route: Route): Route | undefined {
  const { source, received, attributes } = route;
  if (!attributes) return route;
  const outcome = longLived(attributes);
  return "refused" in outcome ? undefined : { source, received, attributes: outcome.attributes };
}
