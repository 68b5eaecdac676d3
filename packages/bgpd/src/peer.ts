/**
 * One configured peer: carries out the effects of its session machine. It has one link, or two while a collision is
 * undecided (RFC 4271 §6.8): `main`, and `rival`, a connection that the peer opened meanwhile.
 */
import {
  BgpError,
  type Effect,
  type Ending,
  type Event,
  messagesIn,
  type Negotiated,
  type Open,
  type Opener,
  refreshSubtypes,
  type Session,
  type Settings,
  type State,
  step,
  survivor,
  writeMessage,
} from "@margay/bgp";
import type { Address, Family } from "@margay/net";
import type { WantedPeer } from "./config.ts";
import { guardOf, Link } from "./link.ts";
import { type Md5Drops, md5Drops, noAnswer } from "./md5-drops.ts";
import { type Faults, type PeerOptions, recordFault } from "./peer-hooks.ts";
import { messageEvent, timerEvents } from "./session-events.ts";
import type { Connection } from "./transport.ts";

export class Peer {
  /** Its policy may change while the session lives; what makes the session may not. */
  wanted: WantedPeer;
  readonly #options: PeerOptions;
  #main: Link;
  #rival: Link | undefined;
  /** Given up for too many prefixes, until the idle hold time is over. */
  #barred = false;
  /** As they were when the last attempt to connect began. */
  #drops: Md5Drops = { failure: 0, notFound: 0, unexpected: 0 };
  /** By the operator. */
  isShutDown = false;
  since = Date.now();
  /** When the last established session ended, or else when we began to try; on the monotonic clock. */
  downSinceMs = performance.now();
  readonly faults: Faults = {};
  readonly counts = { established: 0, flaps: 0, messagesIn: 0, messagesOut: 0, updatesIn: 0, problems: 0 };

  constructor(options: PeerOptions) {
    this.#options = options;
    this.wanted = options.wanted;
    this.#main = this.#link("us");
  }

  get session(): Session {
    return this.#main.session;
  }

  /** Over TCP, whatever was said since. */
  get isConnected(): boolean {
    return this.#main.connection !== undefined;
  }

  /** Not let in, or not started, before its idle hold time is over. */
  get isHeldDown(): boolean {
    return this.session.state === "Idle" && !this.wanted.problem && !this.isShutDown;
  }

  /** Our address of the session, while there is one. */
  get localAddress(): Address | undefined {
    return this.#main.connection?.localAddress;
  }

  get isReady(): boolean {
    return this.#main.connection?.isReady ?? false;
  }

  get unsentBytes(): number {
    return this.#main.connection?.unsentBytes ?? 0;
  }

  start(): void {
    if (!this.wanted.problem && !this.isShutDown) this.#dispatch(this.#main, { kind: "Start" });
  }

  /** Ends the session with a Cease, or without a word when `error` is absent (graceful restart, RFC 4724 §4). */
  stop(error?: BgpError): void {
    this.#rival?.drop();
    this.#rival = undefined;
    if (error) this.#dispatch(this.#main, { kind: "Stop", error });
    this.#main.drop();
  }

  /** Ends the session for a fault of the peer; it is not let in again before `restartSeconds` are over, or we restart. */
  giveUp(error: BgpError, restartSeconds?: number): void {
    this.#barred = true;
    this.#dispatch(this.#main, {
      kind: "AutomaticStop",
      error,
      ...(restartSeconds === undefined ? {} : { restartSeconds }),
    });
  }

  /** The operator ends the session; it starts again at once. */
  reset(error: BgpError): void {
    this.#rival?.drop();
    this.#rival = undefined;
    this.#dispatch(this.#main, { kind: "Stop", error });
    this.start();
  }

  /** The operator ends the session, and nobody is let in, until `startAgain`. */
  shutDown(error?: BgpError): void {
    this.isShutDown = true;
    this.stop(error);
  }

  startAgain(): void {
    this.isShutDown = false;
    this.start();
  }

  /** RFC 2918 §4: asks for all routes of a family again. */
  askAgain(family: Family): void {
    this.send(writeMessage({ kind: "route-refresh", family, subtype: refreshSubtypes.request }));
  }

  /** Whole messages for an established session. */
  send(bytes: Uint8Array): void {
    this.counts.messagesOut += messagesIn(bytes);
    this.#main.connection?.send(bytes);
  }

  /** A connection that the peer opened. */
  accept(connection: Connection): void {
    const { device } = this.wanted;
    const isElsewhere = device !== undefined && !connection.isFrom(device);
    // A third one beside a rival that lacks but the peer's KEEPALIVE.
    const isTooMany = this.#rival?.session.state === "OpenConfirm";
    if (this.wanted.problem || this.#barred || this.isShutDown || isElsewhere || isTooMany) {
      connection.close();
      return;
    }
    const { address, password } = this.wanted;
    connection.guard(address.family, guardOf(this.wanted));
    // It may have come in before the listening socket had the key: from now on only what is signed gets through.
    if (password !== undefined) connection.rekey(address, password);
    const link = this.#link("peer");
    link.session = { ...link.session, state: "Active", failures: this.#main.session.failures };
    this.#rival?.drop();
    const { state } = this.#main.session;
    // Idle too: a peer that came back is not made to wait for our own idle hold (README, deviations).
    if (state === "Idle" || state === "Active") {
      this.#main.drop();
      this.#main = link;
      this.#rival = undefined;
    } else this.#rival = link;
    this.#attach(link, connection);
  }

  /** The password is another one: for what is connected, and for what comes. */
  rekey(): void {
    const { address, password } = this.wanted;
    for (const link of [this.#main, this.#rival]) link?.connection?.rekey(address, password);
  }

  #link(opener: Opener): Link {
    return new Link(opener, this.#options.settings(this.wanted), (link, name) =>
      this.#dispatch(link, timerEvents[name]),
    );
  }

  #attach(link: Link, connection: Connection): void {
    link.attach(connection);
    connection.onBytes = (bytes) => this.#receive(link, bytes);
    connection.onClosed = (why) => {
      link.connection = undefined;
      this.#dispatch(link, { kind: "TcpFailed", why });
    };
    connection.onDrain = () => {
      this.#dispatch(link, { kind: "Written" });
      this.#options.hooks.drained(this);
    };
    this.#dispatch(link, { kind: "TcpConnected" });
  }

  #receive(link: Link, bytes: Uint8Array): void {
    const { connection } = link;
    try {
      for (const frame of link.framer.push(bytes)) {
        if (link.connection !== connection) return; // an earlier message ended the session
        this.counts.messagesIn++;
        const event = messageEvent(frame, link.session);
        if (event.kind !== "OpenReceived" || this.#survivesCollision(link, event.open))
          this.#dispatch(link, event);
      }
    } catch (error) {
      if (!(error instanceof BgpError)) throw error;
      this.#dispatch(link, { kind: "MessageRefused", error });
    }
  }

  #dispatch(link: Link, event: Event): void {
    const before = link.session.state;
    if (event.kind === "Start" || event.kind === "IdleHoldTimerExpired") this.#barred = false;
    if (event.kind === "ConnectRetryTimerExpired" && link.dialling) this.#unanswered();
    if (!hasSpoken.has(before))
      link.session = { ...link.session, settings: this.#options.settings(this.wanted) };
    const [session, effects] = step(link.session, event, 0.75 + Math.random() / 4);
    link.session = session;
    for (const effect of effects) this.#perform(link, effect);
    if (link === this.#main && session.state !== before) {
      this.since = Date.now();
      this.#options.hooks.changed(this);
    }
    if (event.kind === "OpenReceived") this.#afterOpen(link);
  }

  #perform(link: Link, effect: Effect): void {
    switch (effect.kind) {
      case "connect":
        this.#drops = md5Drops();
        link.dial(this.wanted, {
          onUp: (connection) => this.#attach(link, connection),
          onDown: (why) => this.#dispatch(link, { kind: "TcpFailed", why }),
        });
        return;
      case "close":
        link.close();
        return;
      case "send":
        this.counts.messagesOut++;
        link.connection?.send(writeMessage(effect.message));
        // RFC 9687 §3.3: TCP took it, and all before it.
        if (effect.message.kind === "keepalive" && link.connection?.unsentBytes === 0)
          this.#dispatch(link, { kind: "Written" });
        return;
      case "arm":
        link.arm(effect.timer, effect.seconds);
        return;
      case "disarm":
        link.disarm(effect.timer);
        return;
      case "established":
        this.#established(link, effect.negotiated);
        return;
      case "ended":
        this.#ended(link, effect.ending);
        return;
      case "routes":
        this.counts.updatesIn++;
        this.counts.problems += effect.update.problems.length;
        this.#options.hooks.routes(this, effect.update);
        return;
      case "refresh":
        if (effect.family)
          this.#options.hooks.refresh(this, { family: effect.family, subtype: effect.subtype });
        return;
    }
  }

  /** The attempt to connect has found no one, and a new one begins. */
  #unanswered(): void {
    const words = noAnswer(this.#drops, md5Drops(), this.wanted.password !== undefined);
    this.faults.connection = { words, at: Date.now() };
  }

  #promoteRival(): void {
    if (!this.#rival) return;
    this.#main.drop();
    this.#main = this.#rival;
    this.#rival = undefined;
  }

  /**
   * RFC 4271 §6.8, before the OPEN is answered, so that neither side is Established on a connection that goes. Whether
   * the link is still there afterwards.
   */
  #survivesCollision(link: Link, open: Open): boolean {
    const other = link === this.#main ? this.#rival : this.#main;
    const { state } = other?.session ?? {};
    if (!other || open.as !== this.wanted.peerAs || (state !== "OpenSent" && state !== "OpenConfirm"))
      return true;
    const survives = link.opener === kept(link.session.settings, open);
    this.#dispatch(survives ? other : link, { kind: "CollisionLost" });
    return survives;
  }

  /** The OPEN was good: what the other link, if any, has to give way. */
  #afterOpen(link: Link): void {
    const other = link === this.#main ? this.#rival : this.#main;
    if (!other || link.session.state !== "OpenConfirm") return;
    const { state, negotiated } = other.session;
    if (state === "Established") {
      if (!negotiated?.gracefulRestart) this.#dispatch(link, { kind: "CollisionLost" });
    } else if (link === this.#rival) this.#promoteRival(); // not connected yet: no collision, the dialling is given up
  }

  #established(link: Link, negotiated: Negotiated): void {
    // RFC 4724 §5: a new connection from a peer that can restart gracefully says that the old one is dead. Believed
    // only now: a connection that the peer gave up in a collision may be accepted late, its OPEN still in it.
    if (link === this.#rival && this.#main.session.state === "Established")
      this.#dispatch(this.#main, { kind: "TcpFailed", why: restarted });
    const loser = link === this.#main ? this.#rival : this.#main;
    if (loser) loser.drop();
    this.#main = link;
    this.#rival = undefined;
    this.counts.established++;
    if (negotiated.extendedMessage) link.framer.extend();
    this.since = Date.now();
    this.#options.hooks.established(this, negotiated);
    this.#options.hooks.changed(this);
  }

  #ended(link: Link, ending: Ending): void {
    if (link === this.#rival) {
      link.drop();
      this.#rival = undefined;
      return;
    }
    recordFault(this.faults, ending, Date.now());
    if (ending.established) {
      this.counts.flaps++;
      this.downSinceMs = performance.now();
      this.#options.hooks.ended(this, ending);
    }
    this.#promoteRival();
  }
}

/** Our OPEN is out, and what it said holds. */
const hasSpoken: ReadonlySet<State> = new Set(["OpenSent", "OpenConfirm", "Established"]);

const restarted = "the peer opened a new connection: it has restarted";

/** Whose connection survives a collision. */
const kept = (ours: Settings, theirs: Open): Opener =>
  survivor({ bgpId: ours.bgpId, as: ours.localAs }, theirs);
