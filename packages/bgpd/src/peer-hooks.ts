/** Between a peer and its speaker. */
import type { Ending, Negotiated, Settings, Update } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { WantedPeer } from "./config.ts";
import type { Peer } from "./peer.ts";

/** What a peer tells the speaker, always in the course of an event. */
export interface PeerHooks {
  established(peer: Peer, negotiated: Negotiated): void;
  ended(peer: Peer, ending: Ending): void;
  routes(peer: Peer, update: Update): void;
  /** A ROUTE-REFRESH, or a mark of RFC 7313 around what it caused. */
  refresh(peer: Peer, refresh: { readonly family: Family; readonly subtype: number }): void;
  /** Its socket takes bytes again. */
  drained(peer: Peer): void;
  changed(peer: Peer): void;
}

/** The last fault of each kind, in words, with when it was (milliseconds since 1970). */
export interface Faults {
  sent?: { readonly words: string; readonly at: number };
  received?: { readonly words: string; readonly at: number };
  connection?: { readonly words: string; readonly at: number };
}

export interface PeerOptions {
  readonly wanted: WantedPeer;
  /** What the next OPEN says. */
  readonly settings: (wanted: WantedPeer) => Settings;
  readonly hooks: PeerHooks;
}

/** Records why a session ended, by whose doing it did. */
export function recordFault(faults: Faults, { by, words }: Ending, at: number): void {
  faults[by === "tcp" ? "connection" : by === "us" ? "sent" : "received"] = { words, at };
}
