import type { Family } from "@margay/net";
import { BgpError } from "../wire/error.ts";
import { maxPrefixesData } from "../wire/notification.ts";

/** How many prefixes of one family a peer may announce, RFC 4271 §6.7, RFC 4486. */
export interface PrefixLimit {
  readonly max: number;
  /** Warn from this share of `max` on, in percent. */
  readonly warnPercent: number;
  /** `warn`: only say so; otherwise the session ends, and starts again after so many seconds (absent: when told to). */
  readonly exceeded: "warn" | { readonly restartSeconds?: number };
}

export type LimitState = "below" | "near" | "above";

/** Where a count stands. Say something when the state is another than before. */
export function limitState({ max, warnPercent }: PrefixLimit, count: number): LimitState {
  if (count > max) return "above";
  return count * 100 >= max * warnPercent ? "near" : "below";
}

/** The Cease that ends the session, with AFI, SAFI and the limit as data (RFC 4486 §4). */
export const tooManyPrefixes = (family: Family, { max }: PrefixLimit): BgpError =>
  new BgpError("max-prefixes", {
    data: maxPrefixesData(family, max),
    detail: `more than ${max} of IPv${family}`,
  });
