import { type Family, Writer } from "@margay/net";
import {
  type AddPath,
  type Capabilities,
  type GracefulRestart,
  type LongLived,
  type Role,
  writeCapabilities,
} from "../wire/capabilities.ts";
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
  /** A peer that reads nothing is given up after so long; by default 8 minutes, or twice the hold time if that is more (RFC 9687 §4). */
  readonly sendHoldSeconds?: number;
  /** Wait this long for the peer's OPEN before ours is sent (RFC 4271 §8.1.1, DelayOpen). 0 or absent: do not. */
  readonly delayOpenSeconds?: number;
  /** The peer must announce a role when we have one (RFC 9234 §4.2, strict mode). */
  readonly roleRequired?: boolean;
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
  readonly extendedNextHop: boolean;
  /** What we are to the peer, if it agrees (RFC 9234). */
  readonly role?: Role;
  /** Families in which we receive, and send, several paths of one prefix (RFC 7911 §4). */
  readonly addPath?: { readonly receive: readonly Family[]; readonly send: readonly Family[] };
  /** Families whose routes may be kept as a last resort, with the peer's times (RFC 9494 §3.1: only with graceful restart). */
  readonly longLived?: readonly LongLived[];
  /** The peer's announcement, when both sides announced it. */
  readonly gracefulRestart?: GracefulRestart;
  /** The smaller hold time; 0 switches both timers off. */
  readonly holdTimeSeconds: number;
  readonly keepaliveSeconds: number;
  /** RFC 9687 §4: a peer that reads nothing for so long is given up; 0 without a hold time. */
  readonly sendHoldSeconds: number;
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
  if (families.length === 0) {
    const data = new Writer(16); // RFC 5492 §5: the capabilities that the peer lacks
    writeCapabilities(data, { families: a.families });
    throw new BgpError("unsupported-capability", { data: data.done(), detail: "no family in common" });
  }
  const holdTimeSeconds = Math.min(ours.holdTimeSeconds, theirs.holdTimeSeconds);
  return {
    internal,
    families,
    as4: a.as4 !== undefined && b.as4 !== undefined,
    routeRefresh: Boolean(a.routeRefresh && b.routeRefresh),
    enhancedRouteRefresh: Boolean(a.enhancedRouteRefresh && b.enhancedRouteRefresh),
    extendedMessage: Boolean(a.extendedMessage && b.extendedMessage),
    extendedNextHop: Boolean(a.extendedNextHop && b.extendedNextHop),
    ...agreedRole(ours, b.role),
    ...agreedRestart(a, b),
    ...agreedPaths(a, b, families),
    holdTimeSeconds,
    keepaliveSeconds: holdTimeSeconds / timers.keepaliveShare,
    sendHoldSeconds:
      holdTimeSeconds === 0 ? 0 : (ours.sendHoldSeconds ?? Math.max(timers.sendHold, 2 * holdTimeSeconds)),
  };
}

/** What the other side must be, RFC 9234 §4.2. */
const opposite: Readonly<Record<Role, Role>> = {
  provider: "customer",
  customer: "provider",
  rs: "rs-client",
  "rs-client": "rs",
  peer: "peer",
};

/** RFC 9234 §4.2. Roles are for eBGP; one that only one side announces counts for that side, unless required. */
function agreedRole({ capabilities: { role }, roleRequired, localAs, peerAs }: Settings, theirs?: Role) {
  if (!role || localAs === peerAs) return {};
  if (theirs ? theirs !== opposite[role] : roleRequired)
    throw new BgpError("role-mismatch", { detail: `we are ${role}, the peer says ${theirs ?? "nothing"}` });
  return { role };
}

/** RFC 7911 §4: path identifiers go in a direction that one side announced as sender and the other as receiver. */
function agreedPaths({ addPath: ours = [] }: Capabilities, b: Capabilities, families: readonly Family[]) {
  const theirs = b.addPath ?? [];
  const can = (list: readonly AddPath[], family: Family, way: "receive" | "send") =>
    list.some((a) => a.family === family && a[way]);
  const receive = families.filter((f) => can(ours, f, "receive") && can(theirs, f, "send"));
  const send = families.filter((f) => can(ours, f, "send") && can(theirs, f, "receive"));
  return receive.length + send.length > 0 ? { addPath: { receive, send } } : {};
}

/** RFC 4724 §3; RFC 8538 §2: the N bit counts when both sent it; RFC 9494 §3.1: nothing long-lived without it. */
function agreedRestart({ gracefulRestart: ours, longLived }: Capabilities, b: Capabilities) {
  if (!ours || !b.gracefulRestart) return {};
  const { notification, ...theirs } = b.gracefulRestart;
  const families = longLived?.map((l) => l.family) ?? [];
  const kept = b.longLived?.filter((l) => families.includes(l.family)) ?? [];
  return {
    gracefulRestart: notification && ours.notification ? { ...theirs, notification } : theirs,
    ...(kept.length > 0 ? { longLived: kept } : {}),
  };
}
