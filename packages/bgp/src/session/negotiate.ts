import type { Family } from "@margay/net";
import type { Capabilities, GracefulRestart } from "../wire/capabilities.ts";
import { timers } from "../wire/code-points.ts";
import { BgpError } from "../wire/error.ts";
import type { Open } from "../wire/open.ts";

/** What one session is configured with. Times in seconds. */
export interface Settings {
  readonly localAs: number;
  readonly peerAs: number;
  /** Our BGP Identifier as a number. */
  readonly bgpId: number;
  /** 0 (no keepalives) or at least 3, RFC 4271 §4.2. */
  readonly holdTimeSeconds: number;
  readonly connectRetrySeconds: number;
  /** First pause after a fault; doubles with each one in a row, up to 32 times (RFC 4271 §8.1.1, DampPeerOscillations). */
  readonly idleHoldSeconds: number;
  /** Never dial. */
  readonly passive: boolean;
  readonly capabilities: Capabilities;
}

/** What both sides of a session can do: the intersection of the two OPENs. */
export interface Negotiated {
  readonly internal: boolean;
  readonly as4: boolean;
  readonly families: readonly Family[];
  readonly routeRefresh: boolean;
  readonly enhancedRouteRefresh: boolean;
  readonly extendedMessage: boolean;
  /** The peer's announcement, when both sides announced it. */
  readonly gracefulRestart?: GracefulRestart;
  /** The smaller hold time; 0 switches both timers off. */
  readonly holdTimeSeconds: number;
  readonly keepaliveSeconds: number;
}

/** Our OPEN. */
export const openOf = (s: Settings): Open => ({
  kind: "open",
  as: s.localAs,
  holdTimeSeconds: s.holdTimeSeconds,
  bgpId: s.bgpId,
  capabilities: s.capabilities,
});

/** Judges the peer's OPEN against our settings, RFC 4271 §6.2, RFC 6286 §2.2. Throws BgpError. */
export function negotiate(ours: Settings, theirs: Open): Negotiated {
  const internal = ours.localAs === ours.peerAs;
  if (theirs.as !== ours.peerAs)
    throw new BgpError("bad-peer-as", { detail: `AS ${theirs.as}, ${ours.peerAs} expected` });
  if (internal && theirs.bgpId === ours.bgpId)
    throw new BgpError("bad-bgp-identifier", { detail: "the peer has ours" });
  const [a, b] = [ours.capabilities, theirs.capabilities];
  const families = a.families.filter((f) => b.families.includes(f));
  if (families.length === 0) throw new BgpError("unsupported-capability", { detail: "no family in common" });
  const holdTimeSeconds = Math.min(ours.holdTimeSeconds, theirs.holdTimeSeconds);
  return {
    internal,
    families,
    as4: a.as4 !== undefined && b.as4 !== undefined,
    routeRefresh: Boolean(a.routeRefresh && b.routeRefresh),
    enhancedRouteRefresh: Boolean(a.enhancedRouteRefresh && b.enhancedRouteRefresh),
    extendedMessage: Boolean(a.extendedMessage && b.extendedMessage),
    ...(a.gracefulRestart && b.gracefulRestart ? { gracefulRestart: b.gracefulRestart } : {}),
    holdTimeSeconds,
    keepaliveSeconds: holdTimeSeconds / timers.keepaliveShare,
  };
}
