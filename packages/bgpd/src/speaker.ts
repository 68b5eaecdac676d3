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
  type BgpError,
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
import { NetlinkError } from "@margay/netlink";
import { Announcer } from "./announcer.ts";
import { Away } from "./away.ts";
import type { ListenRange, Self, WantedPeer } from "./config.ts";
import { Deferral } from "./deferral.ts";
import { Latency } from "./latency.ts";
import { Learner } from "./learner.ts";
import { type Log, sparing } from "./log.ts";
import { OwnRoutes } from "./own-routes.ts";
import type { Peer } from "./peer.ts";
import type { PeerHooks } from "./peer-hooks.ts";
import type { Presence } from "./presence.ts";
import { Roster } from "./roster.ts";
import { inLog, keyOf, same, settingsOf } from "./settings.ts";
import type { Connection } from "./transport.ts";
import { Turns } from "./turns.ts";
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
  readonly #latency = new Latency<WantedPeer>();
  /** Seconds from an UPDATE to the first announcement of what it changed; whoever measures sets it. */
  onAdvertised: (seconds: number, from: WantedPeer) => void = () => {};
  /** There is work, or more of it. */
  onWork: () => void = () => {};
  readonly #presences = new Map<Peer, Presence>();
  readonly #away: Away;
  readonly #learner: Learner;
  readonly #announcer: Announcer;
  readonly #own: OwnRoutes;
  readonly #roster: Roster;
  readonly #turns = new Turns(
    () => this.#turn(),
    () => this.onWork(),
  );
  readonly #deferral: Deferral;
  #hasConverged: boolean;
  #stopped = false;

  constructor(options: SpeakerOptions) {
    this.#options = { ...options, log: sparing(options.log) };
    this.#hasConverged = !options.restarting;
    this.ribs = { 4: this.#rib(4), 6: this.#rib(6) };
    this.#learner = new Learner(this.ribs, options.device);
    this.#own = new OwnRoutes(this.ribs);
    this.#away = new Away(this.ribs, () => this.#due());
    this.#deferral = new Deferral({
      ...options,
      onOver: () => this.#due(),
      onImpatient: () => this.#checkConverged(),
    }); // routes that came just before are still to be decided
    this.#announcer = new Announcer({
      ribs: this.ribs,
      mayEnd: (family) => !this.#deferral.isActive && !this.ribs[family].isUndecided,
      ...(options.device ? { deviceOf: options.device } : {}),
    });
    this.#roster = new Roster({
      log: this.#options.log,
      hooks: this.#hooks(),
      settings: (wanted, self) => this.#settingsOf(wanted, self),
      onReconfigured: (peer, next, isSameSelf) => this.#reconfigure(peer, next, isSameSelf),
      onRemoved: (key) => this.#away.forget(key),
      hasRoutes: (peer, key) => this.#presences.has(peer) || this.#away.sourceOf(key) !== undefined,
    });
  }

  #hooks(): PeerHooks {
    return {
      established: (peer, negotiated) => this.#established(peer, negotiated),
      ended: (peer, ending) => this.#ended(peer, ending),
      routes: (peer, update) => this.#routes(peer, update),
      refresh: (peer, refresh) => this.#refresh(peer, refresh),
      drained: () => this.#due(),
      changed: ({ wanted, session: { state } }) => {
        this.#options.log.debug({ event: "session", peer: keyOf(wanted), state }, "session");
        if (wanted.dynamic !== undefined) this.#due();
      },
    };
  }

  #rib(family: Family): Rib {
    return new Rib({ family, cost: (hop) => this.#options.cost(hop) });
  }

  get peers(): ReadonlyMap<string, Peer> {
    return this.#roster.peers;
  }

  /** Nothing waits to be decided, or to be sent to a peer that can take it. */
  get isSettled(): boolean {
    return !this.#turns.isDue && this.#announcer.isSettled;
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

  /** Makes the peers be as wanted: see `Roster.set`. */
  setPeers(
    self: Self | undefined,
    wanted: ReadonlyMap<string, WantedPeer>,
    ranges: readonly ListenRange[] = [],
  ): void {
    this.#roster.set(self, wanted, ranges);
    this.#checkConverged();
  }

  /** Soft reconfiguration: another policy for the same session. Both directions are judged again; nothing is reset. */
  #reconfigure(peer: Peer, next: WantedPeer, isSameSelf: boolean): void {
    const isSame = isSameSelf && same(next, peer.wanted);
    const hasNewPassword = next.password !== peer.wanted.password;
    peer.wanted = next;
    if (hasNewPassword) peer.rekey();
    const presence = this.#presences.get(peer);
    if (isSame || !presence) return;
    this.#learner.relearn(presence.source, next, this.#roster.self);
    this.#announcer.move({ peer, ...presence }, this.#roster.self);
    watchLimits(peer, presence, { ribs: this.ribs, log: this.#options.log });
    this.#options.log.info(
      { event: "policy-changed", ...inLog(next) },
      `policy of ${next.name} changed, its session stays`,
    );
    this.#due();
  }

  /** What we announce as our own. */
  setOrigins(origins: ReadonlyMap<string, Prefix>): void {
    this.#own.set(origins);
    this.#due();
  }

  /** Which prefixes may leave us at all; asked for every prefix again, in the next turns. */
  setExported(exported: (prefix: Prefix) => boolean): void {
    this.#announcer.setExported(exported);
    this.#due();
  }

  /** The cost function answers differently, and interfaces towards next hops may be others. */
  costsChanged(): void {
    for (const family of families) this.ribs[family].costsChanged();
    for (const [peer, { source }] of this.#presences)
      if (asksDevice(peer.wanted)) this.#learner.relearn(source, peer.wanted, this.#roster.self);
    this.#announcer.devicesChanged();
    this.#due();
  }

  /** A connection that somebody opened: only configured peers are let in, and those out of a configured network. */
  accept(connection: Connection, from: Address): void {
    const peer = this.#stopped ? undefined : this.#roster.whoComesFrom(from, connection.zone);
    if (!peer) {
      const refused = { event: "refused", from: formatAddress(from) };
      this.#options.log.info(refused, "connection from no peer of ours");
      connection.close();
      return;
    }
    try {
      peer.accept(connection);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error; // the kernel lacks what is to protect it
      this.#options.log.warn({ event: "accept-failed", ...inLog(peer.wanted), err: error }, error.message);
      connection.close();
    }
  }

  /** The operator's word: the session ends and stays down, whatever the configuration becomes. */
  shutDown(peer: Peer, error: BgpError): void {
    this.#roster.shutDown(peer, error);
  }

  /** Whether it was shut down. */
  startAgain(peer: Peer): boolean {
    return this.#roster.startAgain(peer);
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
    this.#turns.stop();
    this.#deferral.stop();
    this.#roster.stop();
    this.#away.stop();
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
    const { peerAs: as, address, client, device, isLocalWorkload: isBehindUs } = wanted;
    const source: Source = {
      ...{ kind, as, bgpId, address, client, ...(device === undefined ? {} : { device }) },
      ...(isBehindUs ? { isBehindUs } : {}),
      get name() {
        return peer.wanted.name; // another one touches no session
      },
    };
    const presence: Presence = { source, negotiated, ended: new Set(), limits: new Map() };
    this.#away.takeBack(key, presence);
    this.#presences.set(peer, presence);
    this.#turns.arrived();
    this.#learner.begin(source, wanted, this.#roster.self);
    this.#announcer.join({ peer, source, negotiated }, this.#roster.self);
    this.#options.log.info(
      { event: "established", ...inLog(wanted), as, name: wanted.name },
      `session with ${wanted.name} is up`,
    );
    this.#checkConverged(); // one that restarts itself is waited for from now on
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
      { event: "session-ended", ...inLog(peer.wanted), by, words },
      `session with ${peer.wanted.name} ended: ${words}`,
    );
    const times = this.#stopped ? [] : keptFor(ending, presence.negotiated);
    if (times.length > 0) this.#away.keep(key, presence, times);
    else for (const family of families) this.ribs[family].forget(presence.source);
    this.#checkConverged(); // and once more when it comes back
    this.#due();
  }

  #routes(peer: Peer, update: Update): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source } = presence;
    for (const problem of update.problems)
      this.#options.log.warn({ event: "bad-attribute", ...inLog(peer.wanted), ...problem }, "RFC 7606");
    this.#latency.heard(peer.wanted, now);
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
      [...this.peers.values()].map((peer) => ({
        presence: this.#presences.get(peer),
        hopeless: Boolean(peer.wanted.problem),
      })),
      this.#roster.isOpen,
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

  #due(): void {
    this.#turns.ask();
  }

  /** @returns whether there is more to do */
  #turn(): boolean {
    const toldBefore = this.#announcer.told;
    let changed = false;
    this.#roster.sweep();
    this.#learner.judgeSome(judgementsInATurn);
    for (const family of families) {
      const changes = this.ribs[family].decide(decisionsInATurn);
      if (changes.length === 0) continue;
      changed = true;
      this.#announcer.put(family, changes);
      this.#options.onChanges(family, changes);
    }
    this.#announcer.judgeSome(judgementsInATurn);
    const isUndecided = this.#learner.isBehind || families.some((family) => this.ribs[family].isUndecided);
    if (!this.#deferral.isActive && !this.#hasConverged && !isUndecided) {
      this.#hasConverged = true;
      this.#options.onConverged?.();
    }
    const owesMore = this.#announcer.send() || isUndecided || this.#announcer.isBehind;
    const told = this.#announcer.told > toldBefore;
    const turn = { changed, isUndecided, told, owes: !this.#announcer.isSettled };
    for (const [from, ms] of this.#latency.turned(turn, performance.now()))
      this.onAdvertised(ms / 1000, from);
    return owesMore;
  }
}

/** Between two turns keepalives are due, and peers are read: a turn takes some 10 ms, however large the table is. */
const decisionsInATurn = 65_536;
/** As long: a policy looks at each prefix. */
const judgementsInATurn = 8192;

const now = (): number => performance.now();

const asksDevice = ({ filters }: WantedPeer): boolean =>
  families.some((family) => filters?.import[family].some((rule) => rule.interface !== undefined));
