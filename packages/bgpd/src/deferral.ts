/** After a restart: what peers said before their End-of-RIB is decided once all have said it (RFC 4724 §4.1). */
import type { Log } from "./log.ts";
import type { Presence } from "./presence.ts";

/** How long a restarted speaker waits for End-of-RIB before it trusts what it has (Selection_Deferral_Timer). */
export const deferralSeconds = 120;

/**
 * How long a peer that restarts itself is waited for, once all others have said theirs. RFC 4724 §4.1 would not wait at all, since it may
 * wait for us; but FRR says for two minutes after its start that it restarts, and has routes to say.
 */
const mutualSeconds = 5;

export interface DeferralOptions {
  readonly log: Log;
  /** There may have been an earlier process of this speaker. */
  readonly restarting: boolean;
  /** The waiting is over: decide, and say End-of-RIB. */
  readonly onOver: () => void;
  /** Who restarts itself has been waited for: `check` is due. */
  readonly onImpatient: () => void;
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
  #patience: NodeJS.Timeout | undefined;
  #isImpatient = false;

  constructor(options: DeferralOptions) {
    this.#options = options;
    this.#isActive = options.restarting;
    if (options.restarting) this.#timer = setTimeout(() => this.#end("time is up"), deferralSeconds * 1000);
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Ends when every peer has said End-of-RIB, or cannot say it, or restarts itself and was waited for; `mayCome`: peers that nobody knows yet. */
  check(peers: readonly Awaited[], mayCome: boolean): void {
    if (!this.#isActive) return;
    if (mayCome || peers.length === 0 || !peers.every((p) => hasSaidAll(p) || isRestarting(p))) this.#calm();
    else if (peers.every(hasSaidAll)) this.#end("every peer has said End-of-RIB");
    else if (this.#isImpatient) this.#end("every peer has said End-of-RIB, or restarts itself");
    else
      this.#patience ??= setTimeout(() => {
        this.#isImpatient = true;
        this.#options.onImpatient();
      }, mutualSeconds * 1000);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#calm();
  }

  #calm(): void {
    clearTimeout(this.#patience);
    this.#patience = undefined;
    this.#isImpatient = false;
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
  return !gracefulRestart || families.every((f) => presence.ended.has(f));
}

const isRestarting = ({ presence }: Awaited): boolean =>
  presence?.negotiated.gracefulRestart?.restarting ?? false;
