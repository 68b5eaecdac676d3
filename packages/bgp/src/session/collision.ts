/** Who opened the TCP connection. */
export type Opener = "us" | "peer";

/**
 * RFC 4271 §6.8 with the tie-break of RFC 6286 §2.3: of two connections with one peer, the one survives that the
 * speaker with the higher BGP Identifier opened; of equal identifiers, the one with the higher AS.
 */
export function survivor(ours: Speaker, theirs: Speaker): Opener {
  const higher = ours.bgpId === theirs.bgpId ? ours.as > theirs.as : ours.bgpId > theirs.bgpId;
  return higher ? "us" : "peer";
}

/** A speaker as the collision rule sees it; `bgpId` compared as an unsigned number. */
export interface Speaker {
  readonly bgpId: number;
  readonly as: number;
}
