/** One connection to a peer, or the attempt at one, with its session machine's state and timers. */
import { Framer, idle, type Opener, type Session, type Settings, type TimerName } from "@margay/bgp";
import type { WantedPeer } from "./config.ts";
import { type Connection, dial, type Guard } from "./transport.ts";

/** What protects the session of a peer below BGP. */
export const guardOf = ({ password, ttlSecurityHops, device }: WantedPeer): Guard => ({
  ...(password === undefined ? {} : { password }),
  ...(ttlSecurityHops === undefined ? {} : { ttlSecurityHops }),
  ...(device === undefined ? {} : { device }),
});

/** A timer that runs: set back rather than made anew, for every UPDATE arms the hold timer again. */
interface Running {
  readonly timeout: NodeJS.Timeout;
  readonly seconds: number;
  /** Its time is over, and what was unread by then is being read. */
  isOver: boolean;
}

/** They say that the peer was silent, or read nothing: after a stall of ours its sign of life may lie in the socket still. */
const patient: ReadonlySet<TimerName> = new Set(["hold", "sendHold"]);

export class Link {
  /** Of the connection, or of the attempt at one: who was called once dials when it is over. */
  opener: Opener;
  session: Session;
  framer = new Framer();
  connection: Connection | undefined;
  dialling: { cancel(): void } | undefined;
  readonly #timers = new Map<TimerName, Running>();
  readonly #onTimer: (link: Link, name: TimerName) => void;

  constructor(opener: Opener, settings: Settings, onTimer: (link: Link, name: TimerName) => void) {
    this.opener = opener;
    this.session = idle(settings);
    this.#onTimer = onTimer;
  }

  /** Connects; one of the two is called, unless `close` comes first. */
  dial(to: WantedPeer, { onUp, onDown }: Parameters<typeof dial>[1]): void {
    const { address, port, localAddress, isLocalWorkload: isSoon = false } = to;
    const guard = guardOf(to);
    this.opener = "us";
    this.dialling = dial(
      { address, port, isSoon, guard, ...(localAddress ? { localAddress } : {}) },
      {
        onUp,
        onDown: (why) => {
          this.dialling = undefined;
          onDown(why);
        },
      },
    );
  }

  /** Takes over a connection; what was read of an earlier one is forgotten. */
  attach(connection: Connection): void {
    this.dialling = undefined;
    this.connection = connection;
    this.framer = new Framer();
  }

  arm(name: TimerName, seconds: number): void {
    const running = this.#timers.get(name);
    if (running?.seconds === seconds) {
      running.isOver = false;
      running.timeout.refresh();
      return;
    }
    clearTimeout(running?.timeout);
    const timeout = setTimeout(() => this.#timeOver(name, armed), seconds * 1000);
    const armed: Running = { timeout, seconds, isOver: false };
    this.#timers.set(name, armed);
  }

  #timeOver(name: TimerName, armed: Running): void {
    armed.isOver = true;
    const expire = () => {
      if (this.#timers.get(name) !== armed || !armed.isOver) return;
      this.#timers.delete(name);
      this.#onTimer(this, name);
    };
    if (patient.has(name))
      setImmediate(expire); // sockets are read in between
    else expire();
  }

  disarm(name: TimerName): void {
    clearTimeout(this.#timers.get(name)?.timeout);
    this.#timers.delete(name);
  }

  /** Closes what is open and gives up what is being opened. */
  close(): void {
    this.dialling?.cancel();
    this.connection?.close();
    this.dialling = undefined;
    this.connection = undefined;
  }

  /** Silences the link for good. */
  drop(): void {
    for (const name of [...this.#timers.keys()]) this.disarm(name);
    this.close();
    this.session = { ...this.session, state: "Idle" };
  }
}
