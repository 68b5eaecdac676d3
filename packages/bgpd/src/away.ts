/** Peers that are away and whose routes are kept meanwhile: the receiving speaker of RFC 4724 §4.2. */
import type { Negotiated, Rib, Source } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Presence } from "./presence.ts";

type Ribs = Readonly<Record<Family, Rib>>;

const families = [4, 6] as const;

interface Kept {
  readonly presence: Presence;
  readonly timer: NodeJS.Timeout;
}

export class Away {
  readonly #ribs: Ribs;
  readonly #onForgotten: () => void;
  readonly #kept = new Map<string, Kept>();

  /** `onForgotten`: routes of a peer that did not come back in time are gone. */
  constructor(ribs: Ribs, onForgotten: () => void) {
    this.#ribs = ribs;
    this.#onForgotten = onForgotten;
  }

  sourceOf(key: string): Source | undefined {
    return this.#kept.get(key)?.presence.source;
  }

  /** The peer restarts; its routes stay for as long as it asked. */
  keep(key: string, presence: Presence, seconds: number): void {
    for (const family of families) this.#ribs[family].markStale(presence.source);
    const timer = setTimeout(() => this.forget(key), seconds * 1000);
    this.#kept.set(key, { presence, timer });
  }

  /** It is back: stale routes of families whose forwarding state it lost go at once, the others wait for End-of-RIB. */
  takeBack(key: string, source: Source, { gracefulRestart }: Negotiated): void {
    const kept = this.#kept.get(key);
    if (!kept) return;
    this.#release(key);
    const forwarding = gracefulRestart?.families.filter((f) => f.forwarding).map((f) => f.family) ?? [];
    for (const family of families) {
      this.#ribs[family].rename(kept.presence.source, source);
      if (!forwarding.includes(family)) this.#ribs[family].sweepStale(source);
    }
  }

  /** What is kept of it goes. */
  forget(key: string): void {
    const source = this.sourceOf(key);
    if (!source) return;
    this.#release(key);
    for (const family of families) this.#ribs[family].forget(source);
    this.#onForgotten();
  }

  stop(): void {
    for (const key of [...this.#kept.keys()]) this.#release(key);
  }

  #release(key: string): void {
    clearTimeout(this.#kept.get(key)?.timer);
    this.#kept.delete(key);
  }
}
