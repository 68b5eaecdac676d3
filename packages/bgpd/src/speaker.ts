/**
 * The speaker: peers, RIBs, update groups, and one turn of work for all that changed.
 *
 *     peers ─ routes ─▶ Adj-RIB-In ─┐                       ┌─▶ update groups ─▶ sockets that are ready
 *     origins ─────────────────────▶├─ turn: decide ─ changes ┤
 *     fabric (costs) ──────────────▶┘                       └─▶ onChanges (kernel routes)
 *
 * Events only record; the turn runs once per event-loop turn, however many events came.
 */
import {
  BgpError,
  type Changes,
  type Ending,
  keptFor,
  type Negotiated,
  Rib,
  refreshSubtypes,
  type Settings,
  type Source,
  type Update,
} from "@margay/bgp";
import { type Address, type Family, formatAddress, type Prefix } from "@margay/net";
import { Announcer } from "./announcer.ts";
import { Away } from "./away.ts";
import type { ListenRange, Self, WantedPeer } from "./config.ts";
import { Deferral } from "./deferral.ts";
import { memberOf, rangeFor } from "./dynamic.ts";
import { Latency } from "./latency.ts";
import { Learner } from "./learner.ts";
import type { Log } from "./log.ts";
import { OwnRoutes } from "./own-routes.ts";
import { Pace } from "./pace.ts";
import { Peer } from "./peer.ts";
import type { Presence } from "./presence.ts";
import { keyOf, same, sessionOf, settingsOf } from "./settings.ts";
import type { Connection } from "./transport.ts";
import { watchLimits } from "./watch-limits.ts";

export type { Log } from "./log.ts";

export interface SpeakerOptions {
  readonly log: Log;
  /** Cost of a next hop; asked anew after `costsChanged`. */
  readonly cost: (nextHop: Address) => number | undefined;
  /** The interface towards a next hop, for filters that ask for it; asked anew after `costsChanged`. */
  readonly device?: (nextHop: Address) => string | undefined;
  /** Prefixes whose best or equal paths changed, at the end of each turn. */
  readonly onChanges: (family: Family, changes: Changes) => void;
  /** After a restart: all that peers said before End-of-RIB is decided now, and was told by `onChanges`. */
  readonly onConverged?: () => void;
  /** It may follow an earlier process: End-of-RIB waits for that of the peers (RFC 4724 §4.1). */
  readonly restarting: boolean;
  /** What that process learned is forwarded still, RFC 4724 §3; so it is when absent. */
  readonly forwarding?: boolean;
  readonly connectRetrySeconds?: number;
  readonly idleHoldSeconds?: number;
  /** Instead of what RFC 9687 §4 says; more than the keepalive time, or peers that read are given up too. */
  readonly sendHoldSeconds?: number;
}

const families = [4, 6] as const;

export class Speaker {
  readonly #options: SpeakerOptions;
  readonly ribs: Readonly<Record<Family, Rib>>;
  #self: Self | undefined;
  /** Peers, by key, that the operator has shut down. */
  readonly #shutDown = new Set<string>();
  readonly #latency = new Latency<WantedPeer>();
  /** Seconds from an UPDATE to the first announcement of what it changed; whoever measures sets it. */
  onAdvertised: (seconds: number, from: WantedPeer) => void = () => {};
  #ranges: readonly ListenRange[] = [];
  readonly #peers = new Map<string, Peer>();
  readonly #presences = new Map<Peer, Presence>();
  readonly #away: Away;
  readonly #learner: Learner;
  readonly #announcer: Announcer;
  readonly #own: OwnRoutes;
  #turnDue = false;
  readonly #pace = new Pace();
  readonly #deferral: Deferral;
  #hasConverged: boolean;
  #stopped = false;

  constructor(options: SpeakerOptions) {
    this.#options = options;
    this.#hasConverged = !options.restarting;
    this.ribs = { 4: this.#rib(4), 6: this.#rib(6) };
    this.#learner = new Learner(this.ribs, options.device);
    this.#own = new OwnRoutes(this.ribs);
    this.#away = new Away(this.ribs, () => this.#due());
    this.#deferral = new Deferral({ ...options, onOver: () => this.#due() }); // routes that came just before are still to be decided
    this.#announcer = new Announcer({
      ribs: this.ribs,
      mayEnd: (family) => !this.#deferral.isActive && !this.ribs[family].isUndecided,
      ...(options.device ? { deviceOf: options.device } : {}),
    });
  }

  #rib(family: Family): Rib {
    return new Rib({ family, cost: (hop) => this.#options.cost(hop) });
  }

  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  /** Nothing waits to be decided, or to be sent to a peer that can take it. */
  get isSettled(): boolean {
    return !this.#turnDue && this.#announcer.isSettled;
  }

  /** Distinct attribute lists that the peers sent. */
  get attributeLists(): number {
    return this.#learner.attributeLists;
  }

  /** False while a restarted speaker still waits for its peers: routes of the earlier process are to be kept. */
  get hasConverged(): boolean {
    return this.#hasConverged;
  }

  /** The source of a peer's routes, while it has any. */
  sourceOf(peer: Peer): Source | undefined {
    return this.#presences.get(peer)?.source ?? this.#away.sourceOf(keyOf(peer.wanted));
  }

  negotiatedOf(peer: Peer): Negotiated | undefined {
    return this.#presences.get(peer)?.negotiated;
  }

  /** Prefixes that a peer has been, or is being, told. */
  prefixesOut(peer: Peer): number {
    const presence = this.#presences.get(peer);
    return presence ? this.#announcer.prefixesOut(presence.source) : 0;
  }

  /** Makes the peers be as wanted, without touching those that stay the same. What we are is part of every policy; another BGP Identifier resets all. */
  setPeers(
    self: Self | undefined,
    wanted: ReadonlyMap<string, WantedPeer>,
    ranges: readonly ListenRange[] = [],
  ): void {
    const isSame = same(self, this.#self);
    const isSameSpeaker = self?.bgpId === this.#self?.bgpId; // each peer's `localAs` says our AS
    this.#self = self;
    this.#ranges = ranges;
    for (const [key, peer] of this.#peers) {
      const next = wanted.get(key) ?? this.#wantedOf(peer);
      if (next && isSameSpeaker && same(sessionOf(next), sessionOf(peer.wanted))) {
        this.#reconfigure(peer, next, isSame);
        continue;
      }
      const code = next ? "configuration-change" : "peer-deconfigured";
      this.#options.log.info(
        { event: "peer-removed", peer: key, reason: code },
        `peer ${peer.wanted.name} removed`,
      );
      peer.stop(new BgpError(code));
      this.#away.forget(key);
      this.#peers.delete(key);
    }
    for (const [key, next] of wanted) if (self && !this.#peers.has(key)) this.#add(key, next, self);
    this.#checkConverged();
  }

  /** What a peer that came by itself should be now; undefined when nobody may come from there any more. */
  #wantedOf({ wanted: { dynamic, address } }: Peer): WantedPeer | undefined {
    const range = dynamic === undefined ? undefined : rangeFor(this.#ranges, address);
    return range && memberOf(range, address);
  }

  /** Soft reconfiguration: another policy for the same session. Both directions are judged again; nothing is reset. */
  #reconfigure(peer: Peer, next: WantedPeer, isSameSelf: boolean): void {
    const isSame = isSameSelf && same(next, peer.wanted);
    const hasNewPassword = next.password !== peer.wanted.password;
    peer.wanted = next;
    if (hasNewPassword) peer.rekey();
    const presence = this.#presences.get(peer);
    if (isSame || !presence) return;
    this.#learner.relearn(presence.source, next, this.#self);
    this.#announcer.move({ peer, ...presence }, this.#self);
    watchLimits(peer, presence, { ribs: this.ribs, log: this.#options.log });
    this.#options.log.info(
      { event: "policy-changed", peer: keyOf(next) },
      `policy of ${next.name} changed, its session stays`,
    );
    this.#due();
  }

  /** What we announce as our own. */
  setOrigins(origins: ReadonlyMap<string, Prefix>): void {
    this.#own.set(origins);
    this.#due();
  }

  /** Which prefixes may leave us at all; asked for every prefix again, now. */
  setExported(exported: (prefix: Prefix) => boolean): void {
    this.#announcer.setExported(exported);
    this.#due();
  }

  /** The cost function answers differently, and interfaces towards next hops may be others. */
  costsChanged(): void {
    for (const family of families) this.ribs[family].costsChanged();
    for (const [peer, { source }] of this.#presences)
      if (asksDevice(peer.wanted)) this.#learner.relearn(source, peer.wanted, this.#self);
    this.#announcer.devicesChanged();
    this.#due();
  }

  /** A connection that somebody opened: only configured peers are let in, and those out of a configured network. */
  accept(connection: Connection, from: Address): void {
    const key = formatAddress(from);
    const peer = this.#stopped ? undefined : (this.#peers.get(key) ?? this.#welcome(key, from));
    if (peer) {
      peer.accept(connection);
      return;
    }
    this.#options.log.info({ event: "refused", from: key }, "connection from no peer of ours");
    connection.close();
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
  #sweepDynamic(): void {
    for (const [key, peer] of this.#peers) {
      if (peer.wanted.dynamic === undefined || peer.isConnected || peer.isHeldDown) continue;
      if (this.#presences.has(peer) || this.#away.sourceOf(key)) continue;
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

  /** Tells the peer all routes of a family again. */
  announceAgain(peer: Peer, family: Family): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source, negotiated } = presence;
    this.#announcer.refresh(source, { family, marked: negotiated.enhancedRouteRefresh });
    this.#due();
  }

  /** Ends all sessions without a NOTIFICATION, so that peers keep our routes while we restart (RFC 4724 §4). */
  stop(): void {
    this.#stopped = true;
    this.#deferral.stop();
    for (const peer of this.#peers.values()) peer.stop();
    this.#away.stop();
  }

  #add(key: string, wanted: WantedPeer, self: Self): Peer {
    const peer = new Peer({
      wanted,
      settings: (now) => this.#settingsOf(now, self),
      hooks: {
        established: (p, negotiated) => this.#established(p, negotiated),
        ended: (p, ending) => this.#ended(p, ending),
        routes: (p, update) => this.#routes(p, update),
        refresh: (p, refresh) => this.#refresh(p, refresh),
        drained: () => this.#due(),
        changed: (p) => {
          this.#options.log.debug({ event: "session", peer: key, state: p.session.state }, "session");
          if (p.wanted.dynamic !== undefined) this.#due();
        },
      },
    });
    this.#peers.set(key, peer);
    for (const warning of wanted.warnings ?? [])
      this.#options.log.warn({ event: "not-supported", peer: key }, warning);
    if (this.#shutDown.has(key)) peer.shutDown();
    peer.start();
    return peer;
  }

  /** Restarting until its peers have said all; from then on this process forwards what it announced. */
  #settingsOf(wanted: WantedPeer, self: Self): Settings {
    const restarting = this.#deferral.isActive;
    const forwarding = !restarting || (this.#options.forwarding ?? true);
    return settingsOf(wanted, { ...this.#options, self, restarting, forwarding });
  }

  #established(peer: Peer, negotiated: Negotiated): void {
    const { wanted, session } = peer;
    const key = keyOf(wanted);
    const bgpId = session.peer?.bgpId ?? 0;
    const kind = negotiated.internal ? "ibgp" : "ebgp";
    const { peerAs: as, address, client } = wanted;
    const source: Source = {
      ...{ kind, as, bgpId, address, client },
      get name() {
        return peer.wanted.name; // another one touches no session
      },
    };
    const presence: Presence = { source, negotiated, ended: new Set(), limits: new Map() };
    this.#away.takeBack(key, presence);
    this.#presences.set(peer, presence);
    this.#pace.arrived(performance.now());
    this.#learner.begin(source, wanted, this.#self);
    this.#announcer.join({ peer, source, negotiated }, this.#self);
    this.#options.log.info(
      { event: "established", peer: key, as, name: wanted.name },
      `session with ${wanted.name} is up`,
    );
    this.#due();
  }

  #ended(peer: Peer, ending: Ending): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    this.#presences.delete(peer);
    this.#announcer.leave(presence.source);
    this.#learner.end(presence.source);
    const key = keyOf(peer.wanted);
    const { words, by } = ending;
    this.#options.log.warn(
      { event: "session-ended", peer: key, by, words },
      `session with ${peer.wanted.name} ended: ${words}`,
    );
    const times = this.#stopped ? [] : keptFor(ending, presence.negotiated);
    if (times.length > 0) this.#away.keep(key, presence, times);
    else for (const family of families) this.ribs[family].forget(presence.source);
    this.#due();
  }

  #routes(peer: Peer, update: Update): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source } = presence;
    for (const problem of update.problems)
      this.#options.log.warn({ event: "bad-attribute", peer: keyOf(peer.wanted), ...problem }, "RFC 7606");
    this.#latency.heard(peer.wanted, performance.now());
    this.#learner.learn(source, peer.wanted, update);
    watchLimits(peer, presence, { ribs: this.ribs, log: this.#options.log });
    if (update.endOfRib) this.#endOfRib(presence, update.endOfRib);
    this.#due();
  }

  #endOfRib(presence: Presence, family: Family): void {
    presence.ended.add(family);
    this.ribs[family].sweepStale(presence.source);
    this.#checkConverged();
  }

  #checkConverged(): void {
    this.#deferral.check(
      [...this.#peers.values()].map((peer) => ({
        presence: this.#presences.get(peer),
        hopeless: Boolean(peer.wanted.problem),
      })),
      this.#ranges.length > 0,
    );
  }

  /** RFC 2918 §4; RFC 7313 §4: between its marks the peer says all again, and what it does not say is gone. */
  #refresh(peer: Peer, { family, subtype }: { family: Family; subtype: number }): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source, negotiated } = presence;
    const marked = negotiated.enhancedRouteRefresh;
    if (subtype === refreshSubtypes.request) this.announceAgain(peer, family);
    else if (subtype === refreshSubtypes.begin && marked) this.ribs[family].markStale(source);
    else if (subtype === refreshSubtypes.end && marked) this.ribs[family].sweepStale(source);
    this.#due();
  }

  /** A turn of work as soon as the pace allows; many requests make one. */
  #due(): void {
    if (this.#turnDue || this.#stopped) return;
    this.#turnDue = true;
    this.#begin();
  }

  #begin(): void {
    const wait = this.#pace.wait(performance.now());
    if (wait < 1) setImmediate(() => this.#turn());
    else setTimeout(() => this.#begin(), wait);
  }

  #turn(): void {
    this.#turnDue = false;
    if (this.#stopped) return;
    const before = process.cpuUsage();
    const toldBefore = this.#announcer.told;
    let changed = false;
    this.#sweepDynamic();
    this.#learner.judgeSome(judgementsInATurn);
    for (const family of families) {
      const changes = this.ribs[family].decide(decisionsInATurn);
      if (changes.length === 0) continue;
      changed = true;
      this.#announcer.put(family, changes);
      this.#options.onChanges(family, changes);
    }
    const isUndecided = this.#learner.isBehind || families.some((family) => this.ribs[family].isUndecided);
    if (!this.#deferral.isActive && !this.#hasConverged && !isUndecided) {
      this.#hasConverged = true;
      this.#options.onConverged?.();
    }
    const owesMore = this.#announcer.send() || isUndecided;
    const told = this.#announcer.told > toldBefore;
    const turn = { changed, isUndecided, told, owes: !this.#announcer.isSettled };
    for (const [from, ms] of this.#latency.turned(turn, performance.now()))
      this.onAdvertised(ms / 1000, from);
    const { user, system } = process.cpuUsage(before); // microseconds
    this.#pace.worked((user + system) / 1000, { now: performance.now(), owesMore });
    if (owesMore) this.#due();
  }
}

/** Between two turns keepalives are due, and peers are read: a turn takes some 10 ms, however large the table is. */
const decisionsInATurn = 65_536;
/** As long: a policy looks at each prefix. */
const judgementsInATurn = 8192;

const asksDevice = ({ filters }: WantedPeer): boolean =>
  families.some((family) => filters?.import[family].some((rule) => rule.interface !== undefined));
