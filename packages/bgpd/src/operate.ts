/** What an operator may do to running sessions. None of it is configuration: a restart of the daemon forgets it (ADR 0007). */
import { BgpError, shutdownData } from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Peer } from "./peer.ts";
import { keyOf } from "./settings.ts";
import type { Speaker } from "./speaker.ts";

const families = [4, 6] as const;

export const actions = ["refresh", "reset", "shutdown", "start"] as const;
export type Action = (typeof actions)[number];

export interface Order {
  /** Name or address of a peer, or `all`. */
  readonly peer: string;
  /** Said to the peer: RFC 9003, at most 255 bytes of UTF-8. Of reset and shutdown. */
  readonly message?: string;
  /** Of refresh: ask the peer for its routes, or tell it ours again; both when absent. */
  readonly direction?: "in" | "out";
}

/** What was done, a line for each peer. Throws RangeError, in words, for an order that means nothing. */
export function operate(speaker: Speaker, action: Action, order: Order): string[] {
  if (order.message !== undefined && new TextEncoder().encode(order.message).length > 255)
    throw new RangeError("the message is longer than 255 bytes (RFC 9003 §2)");
  const all = [...speaker.peers.values()];
  const chosen = all.filter(({ wanted }) => ["all", wanted.name, keyOf(wanted)].includes(order.peer));
  if (chosen.length === 0)
    throw new RangeError(
      `no peer is called ${order.peer}; there are ${all.map(nameOf).join(", ") || "none"}`,
    );
  return chosen.map((peer) => `${nameOf(peer)}: ${one(speaker, action, { ...order, on: peer })}`);
}

const nameOf = ({ wanted }: Peer): string => `${wanted.name} (${keyOf(wanted)})`;

function one(speaker: Speaker, action: Action, { on, message, direction }: Order & { on: Peer }): string {
  switch (action) {
    case "refresh":
      return refresh(speaker, on, direction);
    case "reset":
      on.reset(cease("admin-reset", message));
      return "reset, it starts again by itself";
    case "shutdown":
      speaker.shutDown(on, cease("admin-shutdown", message));
      return "shut down until started again, or until this daemon restarts";
    case "start":
      return speaker.startAgain(on) ? "started" : "was not shut down";
  }
}

const cease = (code: "admin-reset" | "admin-shutdown", message: string | undefined): BgpError =>
  new BgpError(code, message === undefined ? {} : { data: shutdownData(message), detail: message });

function refresh(speaker: Speaker, peer: Peer, direction: Order["direction"]): string {
  const negotiated = speaker.negotiatedOf(peer);
  if (!negotiated) return `nothing to refresh, it is ${peer.session.state}`;
  const told: Family[] = families.filter((f) => negotiated.families.includes(f));
  if (direction !== "in") for (const family of told) speaker.announceAgain(peer, family);
  if (direction === "out") return "is told everything again";
  if (!negotiated.routeRefresh) return "cannot be asked: it did not announce route refresh (RFC 2918)";
  for (const family of told) peer.askAgain(family);
  return direction === "in" ? "asked for everything again" : "asked for everything again, and told it too";
}
