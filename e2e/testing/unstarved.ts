import { waitedMs } from "@margay/testing";

/** Of what took longer, none is forgiven: else a machine with too much to do would hide what is truly lost. */
const MAX_FORGIVEN_MS = 9000;

export interface Moment {
  readonly wallMs: number;
  readonly waitedMs: number;
}

export const now = (): Moment => ({ wallMs: performance.now(), waitedMs: waitedMs() });

/** How long it took, without the time in which the machine had more to do than processors: programs that carry a line wait then, and no packet was lost. */
export const unstarved = (tookMs: number, waitedMs: number, maxForgivenMs = MAX_FORGIVEN_MS): number =>
  tookMs - Math.min(waitedMs, maxForgivenMs);

/** The same between two moments, in milliseconds. */
export const unstarvedMs = (from: Moment, to: Moment, maxForgivenMs = MAX_FORGIVEN_MS): number =>
  unstarved(to.wallMs - from.wallMs, to.waitedMs - from.waitedMs, maxForgivenMs);
