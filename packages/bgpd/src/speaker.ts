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
  type Attributes,
  BgpError,
  type Change,
  type Ending,
  Interner,
  keepsRoutes,
  type LimitState,
  limitState,
  type Negotiated,
  Rib,
  type Route,
  refreshSubtypes,
  type Settings,
  type Source,
  tooManyPrefixes,
  type Update,
} from "@margay/bgp";
import { type Address, type Family, formatAddress, type Prefix, parseAddress } from "@margay/net";
import { Announcer } from "./announcer.ts";
import type { Self, WantedPeer } from "./config.ts";
import { Learner } from "./learner.ts";
import { Peer } from "./peer.ts";
import { textOf } from "./text-of.ts";
import type { Connection } from "./transport.ts";

/** The part of a logger that we use; pino's. */
export interface Log {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  debug(fields: object, text: string): void;
}

export interface SpeakerOptions {
  readonly log: Log;
  /** Cost of a next hop; asked anew after `costsChanged`. */
  readonly cost: (nextHop: Address) => number | undefined;
  /** Prefixes whose best or equal paths changed, at the end of each turn. */
  readonly onChanges: (family: Family, changes: readonly Change[]) => void;
  /** After a restart: all that peers said before End-of-RIB is decided now, and was told by `onChanges`. */
  readonly onConverged?: () => void;
  /** The kernel still forwards what an earlier process of this speaker learned (RFC 4724 §4.1). */
  readonly restarting: boolean;
  readonly connectRetrySeconds?: number;
  readonly idleHoldSeconds?: number;
}

/** What a peer is in the RIB while its session is up, and while its routes are kept stale. */
interface Presence {
  readonly source: Source;
  readonly negotiated: Negotiated;
  /** Families whose End-of-RIB has come. */
  readonly ended: Set<Family>;
  /** Where its prefixes stood against the limit, when that was last said. */
  readonly limits: Map<Family, LimitState>;
  /** Set while the peer is away and its routes are kept. */
  staleTimer?: NodeJS.Timeout;
}

const families = [4, 6] as const;

/** How long a restarted speaker waits for End-of-RIB before it trusts what it has (RFC 4724 §4.1 Selection_Deferral_Timer). */
export const deferralSeconds = 120;

export class Speaker {
  readonly #options: SpeakerOptions;
  readonly ribs: Readonly<Record<Family, Rib>>;
  readonly interner = new Interner<Attributes>();
  #self: Self | undefined;
  readonly #peers = new Map<string, Peer>();
  readonly #presences = new Map<Peer, Presence>();
  /** Peers that are away, by address, with their stale routes. */
  readonly #away = new Map<string, Presence>();
  readonly #learner: Learner;
  readonly #announcer: Announcer;
  #origins = new Map<string, Prefix>();
  readonly #local: Source;
  readonly #ownRoute: Route;
  #turnDue = false;
  #deferring: boolean;
  #hasConverged: boolean;
  #deferral: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: SpeakerOptions) {
    this.#options = options;
    this.#deferring = options.restarting;
    this.#hasConverged = !options.restarting;
    this.ribs = { 4: this.#rib(4), 6: this.#rib(6) };
    this.#learner = new Learner(this.ribs);
    this.#announcer = new Announcer({ ribs: this.ribs, mayEnd: () => !this.#deferring });
    this.#local = {
      kind: "local",
      name: "local",
      as: 0,
      bgpId: 0,
      address: parseAddress("0.0.0.0"),
      client: false,
    };
    this.#ownRoute = { source: this.#local, received: ownAttributes, attributes: ownAttributes };
    if (options.restarting)
      this.#deferral = setTimeout(() => this.#converge("time is up"), deferralSeconds * 1000);
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

  /** False while a restarted speaker still waits for its peers: routes of the earlier process are to be kept. */
  get hasConverged(): boolean {
    return this.#hasConverged;
  }

  /** The source of a peer's routes, while it has any. */
  sourceOf(peer: Peer): Source | undefined {
    return (this.#presences.get(peer) ?? this.#away.get(keyOf(peer.wanted)))?.source;
  }

  negotiatedOf(peer: Peer): Negotiated | undefined {
    return this.#presences.get(peer)?.negotiated;
  }

  /** Prefixes that a peer has been, or is being, told. */
  prefixesOut(peer: Peer): number {
    const presence = this.#presences.get(peer);
    return presence ? this.#announcer.prefixesOut(presence.source) : 0;
  }

  /** Makes the peers be as wanted, without touching those that stay the same. A changed speaker changes them all. */
  setPeers(self: Self | undefined, wanted: ReadonlyMap<string, WantedPeer>): void {
    const sameSelf = same(self, this.#self);
    this.#self = self;
    for (const [key, peer] of this.#peers) {
      const next = wanted.get(key);
      if (next && sameSelf && same(sessionOf(next), sessionOf(peer.wanted))) {
        this.#reconfigure(peer, next);
        continue;
      }
      const code = next ? "configuration-change" : "peer-deconfigured";
      this.#options.log.info(
        { event: "peer-removed", peer: key, reason: code },
        `peer ${peer.wanted.name} removed`,
      );
      peer.stop(new BgpError(code));
      this.#forgetAway(key);
      this.#peers.delete(key);
    }
    for (const [key, next] of wanted) if (self && !this.#peers.has(key)) this.#add(key, next, self);
    this.#checkConverged();
  }

  /** Soft reconfiguration: another policy for the same session. Both directions are judged again; nothing is reset. */
  #reconfigure(peer: Peer, next: WantedPeer): void {
    const isSame = same(next, peer.wanted);
    const hasNewPassword = next.password !== peer.wanted.password;
    peer.wanted = next;
    if (hasNewPassword) peer.rekey();
    const presence = this.#presences.get(peer);
    if (isSame || !presence) return;
    this.#learner.relearn(presence.source, next, this.#self);
    this.#announcer.move({ peer, ...presence }, this.#self);
    this.#limit(peer, presence);
    this.#options.log.info(
      { event: "policy-changed", peer: keyOf(next) },
      `policy of ${next.name} changed, its session stays`,
    );
    this.#due();
  }

  /** What we announce as our own. */
  setOrigins(origins: ReadonlyMap<string, Prefix>): void {
    for (const [text, prefix] of this.#origins) if (!origins.has(text)) this.#withdrawOwn(prefix);
    for (const [text, prefix] of origins) if (!this.#origins.has(text)) this.#announceOwn(prefix);
    this.#origins = new Map(origins);
    this.#due();
  }

  /** Which prefixes may leave us at all; asked for every prefix again, now. */
  setExported(exported: (prefix: Prefix) => boolean): void {
    this.#announcer.setExported(exported);
    this.#due();
  }

  /** The cost function answers differently. */
  costsChanged(): void {
    for (const family of families) this.ribs[family].costsChanged();
    this.#due();
  }

  /** A connection that somebody opened: only configured peers are let in. */
  accept(connection: Connection, from: Address): void {
    const peer = this.#peers.get(formatAddress(from));
    if (peer && !this.#stopped) {
      peer.accept(connection);
      return;
    }
    this.#options.log.info(
      { event: "refused", from: formatAddress(from) },
      "connection from no peer of ours",
    );
    connection.close();
  }

  /** Ends all sessions without a NOTIFICATION, so that peers keep our routes while we restart (RFC 4724 §4). */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#deferral);
    for (const peer of this.#peers.values()) peer.stop();
    for (const key of this.#away.keys()) clearTimeout(this.#away.get(key)?.staleTimer);
  }

  #add(key: string, wanted: WantedPeer, self: Self): void {
    const peer = new Peer({
      wanted,
      settings: this.#settings(wanted, self),
      interner: this.interner,
      hooks: {
        established: (p, negotiated) => this.#established(p, negotiated),
        ended: (p, ending) => this.#ended(p, ending),
        routes: (p, update) => this.#routes(p, update),
        refresh: (p, refresh) => this.#refresh(p, refresh),
        drained: () => this.#due(),
        changed: (p) =>
          this.#options.log.debug({ event: "session", peer: key, state: p.session.state }, "session"),
      },
    });
    this.#peers.set(key, peer);
    for (const warning of wanted.warnings ?? [])
      this.#options.log.warn({ event: "not-supported", peer: key }, warning);
    peer.start();
  }

  #settings(wanted: WantedPeer, self: Self): Settings {
    const { families: told = families, sessionTerms: terms } = wanted;
    return {
      localAs: wanted.localAs,
      peerAs: wanted.peerAs,
      bgpId: self.bgpId,
      holdTimeSeconds: wanted.holdTimeSeconds,
      connectRetrySeconds: this.#options.connectRetrySeconds ?? 5,
      idleHoldSeconds: this.#options.idleHoldSeconds ?? 1,
      passive: wanted.passive ?? false,
      ...(terms?.delayOpenSeconds ? { delayOpenSeconds: terms.delayOpenSeconds } : {}),
      ...(terms?.roleRequired ? { roleRequired: true } : {}),
      capabilities: {
        ...(terms?.role ? { role: terms.role } : {}),
        ...(terms?.extendedNextHop ? { extendedNextHop: true } : {}),
        families: told,
        as4: wanted.localAs,
        routeRefresh: true,
        enhancedRouteRefresh: true,
        extendedMessage: true,
        gracefulRestart: {
          restarting: this.#deferring,
          notification: true,
          restartTimeSeconds: wanted.restartTimeSeconds,
          // F bit: the kernel forwards whatever becomes of this process.
          families: told.map((family) => ({ family, forwarding: true })),
        },
      },
    };
  }

  #announceOwn(prefix: Prefix): void {
    const rib = this.ribs[prefix.family];
    rib.put(rib.prefixes.add(prefix), this.#ownRoute);
  }

  #withdrawOwn(prefix: Prefix): void {
    const rib = this.ribs[prefix.family];
    rib.remove(this.#local, rib.prefixes.add(prefix));
  }

  #established(peer: Peer, negotiated: Negotiated): void {
    const { wanted, session } = peer;
    const key = keyOf(wanted);
    const bgpId = session.peer?.bgpId ?? 0;
    const kind = negotiated.internal ? "ibgp" : "ebgp";
    const away = this.#away.get(key);
    clearTimeout(away?.staleTimer);
    this.#away.delete(key);
    const { name, peerAs: as, address, client } = wanted;
    const source: Source = { kind, name, as, bgpId, address, client };
    if (away) this.#takeBack(away, source, negotiated);
    const presence: Presence = { source, negotiated, ended: new Set(), limits: new Map() };
    this.#presences.set(peer, presence);
    this.#learner.begin(source, wanted, this.#self);
    this.#announcer.join({ peer, source, negotiated }, this.#self);
    this.#options.log.info({ event: "established", peer: key, as, name }, `session with ${name} is up`);
    this.#due();
  }

  /** RFC 4724 §4.2: stale routes of families whose forwarding state the peer lost go at once. */
  #takeBack(away: Presence, source: Source, { gracefulRestart }: Negotiated): void {
    const kept = gracefulRestart?.families.filter((f) => f.forwarding).map((f) => f.family) ?? [];
    for (const family of families) {
      this.ribs[family].rename(away.source, source);
      if (!kept.includes(family)) this.ribs[family].sweepStale(source);
    }
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
    const restart = presence.negotiated.gracefulRestart;
    if (restart && keepsRoutes(ending, presence.negotiated) && !this.#stopped)
      this.#keep(key, presence, restart.restartTimeSeconds);
    else for (const family of families) this.ribs[family].forget(presence.source);
    this.#due();
  }

  /** RFC 4724 §4.2: the peer restarts; its routes stay for as long as it asked. */
  #keep(key: string, presence: Presence, seconds: number): void {
    for (const family of families) this.ribs[family].markStale(presence.source);
    presence.staleTimer = setTimeout(() => this.#forgetAway(key), seconds * 1000);
    this.#away.set(key, presence);
  }

  #forgetAway(key: string): void {
    const away = this.#away.get(key);
    if (!away) return;
    clearTimeout(away.staleTimer);
    this.#away.delete(key);
    for (const family of families) this.ribs[family].forget(away.source);
    this.#due();
  }

  #routes(peer: Peer, update: Update): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source } = presence;
    for (const problem of update.problems)
      this.#options.log.warn({ event: "bad-attribute", peer: keyOf(peer.wanted), ...problem }, "RFC 7606");
    this.#learner.learn(source, peer.wanted, update);
    this.#limit(peer, presence);
    if (update.endOfRib) this.#endOfRib(presence, update.endOfRib);
    this.#due();
  }

  /** RFC 4271 §6.7: a peer that announces too many prefixes is warned of, then its session ends. */
  #limit(peer: Peer, { source, limits }: Presence): void {
    for (const family of families) {
      const limit = peer.wanted.policyTerms?.prefixLimits?.[family];
      if (!limit) continue;
      const state = limitState(limit, this.ribs[family].counts(source).received);
      if (state === (limits.get(family) ?? "below")) continue;
      limits.set(family, state);
      const { max } = limit;
      if (state !== "below")
        this.#options.log.warn(
          { event: "prefix-limit", peer: keyOf(peer.wanted), family, state, max },
          `${peer.wanted.name}: prefixes of IPv${family} ${state} the limit of ${max}`,
        );
      if (state !== "above" || limit.exceeded === "warn") continue;
      peer.giveUp(tooManyPrefixes(family, limit), limit.exceeded.restartSeconds);
      return;
    }
  }

  #endOfRib(presence: Presence, family: Family): void {
    presence.ended.add(family);
    this.ribs[family].sweepStale(presence.source);
    this.#checkConverged();
  }

  /** RFC 4724 §4.1: every peer has said End-of-RIB, or restarts itself, or cannot say it. */
  #checkConverged(): void {
    if (!this.#deferring || this.#peers.size === 0) return;
    const done = [...this.#peers.values()].every((peer) => {
      const presence = this.#presences.get(peer);
      if (!presence) return Boolean(peer.wanted.problem);
      const { gracefulRestart, families: wanted } = presence.negotiated;
      return !gracefulRestart || gracefulRestart.restarting || wanted.every((f) => presence.ended.has(f));
    });
    if (done) this.#converge("every peer has said End-of-RIB");
  }

  #converge(why: string): void {
    this.#deferring = false;
    clearTimeout(this.#deferral);
    this.#options.log.info({ event: "converged", why }, `restart is over: ${why}`);
    this.#due(); // the routes that came just before are still to be decided
  }

  /** RFC 2918 §4; RFC 7313 §4: between its marks the peer says all again, and what it does not say is gone. */
  #refresh(peer: Peer, { family, subtype }: { family: Family; subtype: number }): void {
    const presence = this.#presences.get(peer);
    if (!presence) return;
    const { source, negotiated } = presence;
    const marked = negotiated.enhancedRouteRefresh;
    if (subtype === refreshSubtypes.request) this.#announcer.refresh(source, { family, marked });
    else if (subtype === refreshSubtypes.begin && marked) this.ribs[family].markStale(source);
    else if (subtype === refreshSubtypes.end && marked) this.ribs[family].sweepStale(source);
    this.#due();
  }

  /** A turn of work soon; many requests make one. */
  #due(): void {
    if (this.#turnDue || this.#stopped) return;
    this.#turnDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnDue = false;
    if (this.#stopped) return;
    for (const family of families) {
      const changes = [...this.ribs[family].decide()];
      if (changes.length === 0) continue;
      this.#announcer.put(family, changes);
      this.#options.onChanges(family, changes);
    }
    if (!this.#deferring && !this.#hasConverged) {
      this.#hasConverged = true;
      this.#options.onConverged?.();
    }
    if (this.#announcer.send()) this.#due();
  }
}

const ownAttributes: Attributes = { origin: "igp", asPath: [], localPref: 100 };

/** What makes a session: all but the policy that its routes are judged by. */
function sessionOf(wanted: WantedPeer) {
  const {
    filters: _f,
    policyTerms: _p,
    nextHop: _n,
    allowedLocalAs: _a,
    warnings: _w,
    type: _t,
    ...rest
  } = wanted;
  return rest;
}

const keyOf = (wanted: WantedPeer): string => formatAddress(wanted.address);

const same = (a: unknown, b: unknown): boolean => textOf(a) === textOf(b);
