/** After a restart: what peers said before their End-of-RIB is decided once all have said it (RFC 4724 §4.1). */
import type { Log } from "./log.ts";
import type { Presence } from "./presence.ts";

/** How long a restarted speaker waits for End-of-RIB before it trusts what it has (Selection_Deferral_Timer). */
export const deferralSeconds = 120;

export interface DeferralOptions {
  readonly log: Log;
  /** There may have been an earlier process of this speaker. */
  readonly restarting: boolean;
  /** The waiting is over: decide, and say End-of-RIB. */
  readonly onOver: () => void;
}

/** A peer as the restart waits for it; `hopeless`: its session cannot come up as configured. */
export interface Awaited {
  readonly presence: Presence | undefined;
  readonly hopeless: boolean;
}

export class Deferral {
  readonly #options: DeferralOptions;
  #isActive: boolean;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(options: DeferralOptions) {
    this.#options = options;
    this.#isActive = options.restarting;
    if (options.restarting) this.#timer = setTimeout(() => this.#end("time is up"), deferralSeconds * 1000);
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Ends when every peer has said End-of-RIB, or restarts itself, or cannot say it; `mayCome`: peers that nobody knows yet. */
  check(peers: readonly Awaited[], mayCome: boolean): void {
    if (this.#isActive && !mayCome && peers.length > 0 && peers.every(hasSaidAll))
      this.#end("every peer has said End-of-RIB");
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #end(why: string): void {
    this.#isActive = false;
    this.stop();
    this.#options.log.info({ event: "converged", why }, `restart is over: ${why}`);
    this.#options.onOver();
  }
}

function hasSaidAll({ presence, hopeless }: Awaited): boolean {
  if (!presence) return hopeless;
  const { gracefulRestart, families } = presence.negotiated;
  return !gracefulRestart || gracefulRestart.restarting || families.every((f) => presence.ended.has(f));
}
