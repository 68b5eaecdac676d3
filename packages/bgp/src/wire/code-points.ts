/** IANA code points of BGP-4 that this library speaks. One row each, with the document that assigns it. */

/** Message types, RFC 4271 §4.1. */
export const messageTypes = {
  open: { code: 1, rfc: "RFC 4271 §4.2" },
  update: { code: 2, rfc: "RFC 4271 §4.3" },
  notification: { code: 3, rfc: "RFC 4271 §4.5" },
  keepalive: { code: 4, rfc: "RFC 4271 §4.4" },
  "route-refresh": { code: 5, rfc: "RFC 2918 §3" },
} as const;

/** Length limits of a whole message in bytes, marker included. */
export const lengths = {
  header: 19, // RFC 4271 §4.1
  max: 4096, // RFC 4271 §4.1
  maxExtended: 65_535, // RFC 8654 §3
} as const;

/** Capability codes, RFC 5492. */
export const capabilityCodes = {
  multiprotocol: { code: 1, rfc: "RFC 4760 §8" },
  routeRefresh: { code: 2, rfc: "RFC 2918 §2" },
  extendedNextHop: { code: 5, rfc: "RFC 8950 §4" },
  extendedMessage: { code: 6, rfc: "RFC 8654 §3" },
  role: { code: 9, rfc: "RFC 9234 §4.1" },
  gracefulRestart: { code: 64, rfc: "RFC 4724 §3" },
  as4: { code: 65, rfc: "RFC 6793 §3" },
  addPath: { code: 69, rfc: "RFC 7911 §4" },
  enhancedRouteRefresh: { code: 70, rfc: "RFC 7313 §3.1" },
  longLived: { code: 71, rfc: "RFC 9494 §3.1" },
} as const;

/** Address family identifiers that we carry; SAFI is always 1 (unicast). RFC 4760 §5, §6. */
export const afi = { 4: 1, 6: 2 } as const;
export const safiUnicast = 1;

/** Stands for a four-octet AS in a two-octet field. RFC 6793 §9. */
export const AS_TRANS = 23456;

/** Attribute flag bits, RFC 4271 §4.3. */
export const flags = { optional: 0x80, transitive: 0x40, partial: 0x20, extendedLength: 0x10 } as const;

/** ROUTE-REFRESH subtypes, RFC 7313 §3.2. */
export const refreshSubtypes = { request: 0, begin: 1, end: 2 } as const;

/** Well-known communities, RFC 1997 §2, RFC 8326 §5, RFC 9494 §3.2, §3.3. */
export const communities = {
  gracefulShutdown: 0xffff0000,
  llgrStale: 0xffff0006,
  noLlgr: 0xffff0007,
  noExport: 0xffffff01,
  noAdvertise: 0xffffff02,
  noExportSubconfed: 0xffffff03,
} as const;

/** Timer defaults in seconds, RFC 4271 §10, and the restart time of RFC 4724 §3. */
export const timers = {
  connectRetry: 120,
  hold: 90,
  largeHold: 240,
  keepaliveShare: 3,
  restart: 120,
  stable: 60, // ours: RFC 4271 §8.1.1 leaves open when DampPeerOscillations forgets
  sendHold: 480, // RFC 9687 §4: 8 minutes, or twice the hold time if that is more
} as const;
