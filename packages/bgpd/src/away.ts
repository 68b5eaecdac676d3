/**
 * Peers that are away and whose routes are kept meanwhile: the receiving speaker of RFC 4724 §4.2 and of RFC 9494 §4.2.
 *
 *     session ended ── restart time ──▶ long-lived stale time ──▶ forgotten
 *                            │                    │
 *                            └── back: stale until End-of-RIB, swept at once where forwarding was lost
 */
import { type KeptFor, longLived, type Negotiated, type Rib, type Route, type Source } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Presence } from "./presence.ts";

type Ribs = Readonly<Record<Family, Rib>>;

const families = [4, 6] as const;

/** A peer that is back and never says End-of-RIB: its stale routes go after so long (RFC 4724 §4.2 leaves the bound to us). */
export const stalePathSeconds = 360;

interface Kept {
  readonly presence: Presence;
  /** The restart time, then the long-lived time, of each family. */
  readonly timers: Set<NodeJS.Timeout>;
  readonly isLongLived: Set<Family>;
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

  /** The peer restarts; its routes stay for as long as it asked, but those that it had not said again since it was away before. */
  keep(key: string, presence: Presence, times: readonly KeptFor[]): void {
    const { source, ended } = presence;
    const isSecond = this.#returned.has(source);
    this.#forgetReturn(source);
    const kept: Kept = { presence, timers: new Set(), isLongLived: new Set() };
    this.#kept.set(key, kept);
    for (const family of families) {
      if (isSecond && !ended.has(family)) this.#ribs[family].sweepStale(source);
      const time = times.find((t) => t.family === family);
      if (!time) {
        this.#ribs[family].forget(source);
        continue;
      }
      this.#ribs[family].markStale(source);
      after(time.restartSeconds, kept.timers, () => this.#restartTimeOver(key, kept, time));
    }
  }

  /** It is back: stale routes of families whose forwarding state it lost go at once, the others wait for End-of-RIB. */
  takeBack(key: string, presence: Presence): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    const { source, negotiated, ended } = presence;
    this.#release(key);
    for (const family of families) {
      this.#ribs[family].rename(kept.presence.source, source);
      if (!forwards(negotiated, family, kept.isLongLived)) this.#ribs[family].sweepStale(source);
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
  #restartTimeOver(key: string, kept: Kept, { family, longLivedSeconds }: KeptFor): void {
    if (longLivedSeconds === 0) {
      this.#timeOver(key, kept, family);
      return;
    }
    kept.isLongLived.add(family);
    makeLastResort(this.#ribs[family], kept.presence.source);
    after(longLivedSeconds, kept.timers, () => this.#timeOver(key, kept, family));
    this.#onChanged();
  }

  #timeOver(key: string, { presence, timers }: Kept, family: Family): void {
    this.#ribs[family].forget(presence.source);
    if (timers.size === 0) this.#kept.delete(key);
    this.#onChanged();
  }

  #release(key: string): void {
    for (const timer of this.#kept.get(key)?.timers ?? []) clearTimeout(timer);
    this.#kept.delete(key);
  }
}

/** A timer of Node runs for 24.8 days at most, and at once when given more; RFC 9494 has 194 days. */
const longestSeconds = 2_000_000;

/** Runs `then` after `seconds`; until then its timer is in `timers`. */
function after(seconds: number, timers: Set<NodeJS.Timeout>, then: () => void): void {
  const part = Math.min(seconds, longestSeconds);
  const timer = setTimeout(() => {
    timers.delete(timer);
    if (part < seconds) after(seconds - part, timers, then);
    else then();
  }, part * 1000);
  timers.add(timer);
}

/** RFC 4724 §4.2, RFC 9494 §4.2: whether the peer still forwards the routes of a family, by its F bit. */
function forwards(
  { gracefulRestart, longLived: llgr }: Negotiated,
  family: Family,
  isLongLived: ReadonlySet<Family>,
): boolean {
  const announced = isLongLived.has(family) ? llgr : gracefulRestart?.families;
  return announced?.some((f) => f.family === family && f.forwarding) ?? false;
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
