/** Who the peers are: those that are configured, and those that came out of a configured network. */
import { BgpError, type Settings } from "@margay/bgp";
import { type Address, formatAddress, formatPrefix } from "@margay/net";
import type { ListenRange, Self, WantedPeer } from "./config.ts";
import { memberOf, rangeFor } from "./dynamic.ts";
import type { Log } from "./log.ts";
import { Peer } from "./peer.ts";
import type { PeerHooks } from "./peer-hooks.ts";
import { inLog, keyFrom, keyOf, same, sessionOf } from "./settings.ts";

export interface RosterOptions {
  readonly log: Log;
  readonly hooks: PeerHooks;
  /** What a peer's next OPEN says. */
  readonly settings: (wanted: WantedPeer, self: Self) => Settings;
  /** Another policy for the same session; `isSameSelf`: what we are has not changed. */
  readonly onReconfigured: (peer: Peer, next: WantedPeer, isSameSelf: boolean) => void;
  readonly onRemoved: (key: string) => void;
  /** Routes of the peer are there, told now or kept. */
  readonly hasRoutes: (peer: Peer, key: string) => boolean;
}

export class Roster {
  readonly #options: RosterOptions;
  readonly #peers = new Map<string, Peer>();
  /** Peers, by key, that the operator has shut down. */
  readonly #shutDown = new Set<string>();
  #self: Self | undefined;
  #ranges: readonly ListenRange[] = [];

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  get self(): Self | undefined {
    return this.#self;
  }

  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  /** Somebody may still come whom nobody knows. */
  get isOpen(): boolean {
    return this.#ranges.length > 0;
  }

  /** Makes the peers be as wanted, without touching those that stay the same. What we are is part of every policy; another BGP Identifier resets all. */
  set(
    self: Self | undefined,
    wanted: ReadonlyMap<string, WantedPeer>,
    ranges: readonly ListenRange[] = [],
  ): void {
    const isSameSelf = same(self, this.#self);
    const isSameSpeaker = self?.bgpId === this.#self?.bgpId; // each peer's `localAs` says our AS
    this.#self = self;
    for (const one of ranges)
      if (!this.#ranges.some((had) => same(had, one)))
        this.#warn(one.template.warnings, { range: formatPrefix(one.range) });
    this.#ranges = ranges;
    for (const [key, peer] of this.#peers) {
      const next = wanted.get(key) ?? this.#wantedOf(peer);
      if (next && isSameSpeaker && same(sessionOf(next), sessionOf(peer.wanted)))
        this.#options.onReconfigured(peer, next, isSameSelf);
      else this.#remove(key, peer, next ? "configuration-change" : "peer-deconfigured");
    }
    for (const [key, next] of wanted) if (self && !this.#peers.has(key)) this.#add(key, next, self);
  }

  /** What a peer that came by itself should be now; undefined when nobody may come from there any more. */
  #wantedOf({ wanted: { dynamic, address } }: Peer): WantedPeer | undefined {
    const range = dynamic === undefined ? undefined : rangeFor(this.#ranges, address);
    return range && memberOf(range, address);
  }

  #remove(key: string, peer: Peer, reason: "configuration-change" | "peer-deconfigured"): void {
    this.#options.log.info(
      { event: "peer-removed", ...inLog(peer.wanted), reason },
      `peer ${peer.wanted.name} removed`,
    );
    peer.stop(new BgpError(reason));
    this.#options.onRemoved(key);
    this.#peers.delete(key);
  }

  #add(key: string, wanted: WantedPeer, self: Self): Peer {
    const { hooks, settings } = this.#options;
    const peer = new Peer({ wanted, hooks, settings: (now) => settings(now, self) });
    this.#peers.set(key, peer);
    if (wanted.dynamic === undefined) this.#warn(wanted.warnings, inLog(wanted));
    if (this.#shutDown.has(key)) peer.shutDown();
    peer.start();
    return peer;
  }

  #warn(warnings: readonly string[] = [], whom: object): void {
    for (const warning of warnings) this.#options.log.warn({ event: "not-supported", ...whom }, warning);
  }

  /** Whose connections come from there: a configured peer's, or those of one out of a configured network, which this makes one. */
  whoComesFrom(from: Address, device: string | undefined): Peer | undefined {
    const key = formatAddress(from);
    return this.#peers.get(keyFrom(from, device)) ?? this.#peers.get(key) ?? this.#welcome(key, from);
  }

  /** A new peer out of a network that may connect, while there is room. */
  #welcome(key: string, from: Address): Peer | undefined {
    const range = rangeFor(this.#ranges, from);
    if (!range || !this.#self) return undefined;
    const wanted = memberOf(range, from);
    const count = [...this.#peers.values()].filter((p) => p.wanted.dynamic === wanted.dynamic).length;
    if (count < range.limit) return this.#add(key, wanted, this.#self);
    this.#options.log.warn(
      { event: "listen-limit", from: key, range: wanted.dynamic, limit: range.limit },
      `${key} is one too many for ${wanted.dynamic}: it has ${range.limit} peers`,
    );
    return undefined;
  }

  /** Peers that came by themselves are nothing once they are gone, none of their routes is kept, and no fault of theirs is remembered. */
  sweep(): void {
    for (const [key, peer] of this.#peers) {
      if (peer.wanted.dynamic === undefined || peer.isConnected || peer.isHeldDown) continue;
      if (this.#options.hasRoutes(peer, key)) continue;
      peer.stop();
      this.#peers.delete(key);
    }
  }

  /** The operator's word: the session ends and stays down, whatever the configuration becomes. */
  shutDown(peer: Peer, error: BgpError): void {
    this.#shutDown.add(keyOf(peer.wanted));
    peer.shutDown(error);
  }

  /** Whether it was shut down. */
  startAgain(peer: Peer): boolean {
    if (!this.#shutDown.delete(keyOf(peer.wanted))) return false;
    peer.startAgain();
    return true;
  }

  stop(): void {
    for (const peer of this.#peers.values()) peer.stop();
  }
}
