import type { LimitState, Negotiated, Source } from "@margay/bgp";
import type { Family } from "@margay/net";

/** What a peer is in the RIBs while its session is up, and while its routes are kept stale. */
export interface Presence {
  readonly source: Source;
  readonly negotiated: Negotiated;
  /** Families whose End-of-RIB has come. */
  readonly ended: Set<Family>;
  /** Where its prefixes stood against the limit, when that was last said. */
  readonly limits: Map<Family, LimitState>;
}
