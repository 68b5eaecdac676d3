/** Many speakers in one process, each on an address of its own on `lo`, 10.0.0.1 to .20, over real TCP. */
import { execFileSync } from "node:child_process";
import { type Address, formatAddress, formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import type { ListenRange, Self, WantedPeer } from "../config.ts";
import { type Log, Speaker, type SpeakerOptions } from "../speaker.ts";
import { type Listener, listen } from "../transport.ts";

export const quiet: Log = { info: () => {}, warn: () => {}, debug: () => {} };
export const port = 1790;
export const address = (n: number): Address => parseAddress(`10.0.0.${n}`);
const subnet = parsePrefix("10.0.0.0/24");

export const self = (n: number, more: Partial<Self> = {}): Self => ({
  node: `n${n}`,
  as: 64512,
  bgpId: n,
  addresses: { 4: { address: address(n), subnet } },
  listenPort: port,
  bindNodeAddress: true,
  metric: { 4: 1024, 6: 1024 },
  ...more,
});

/** The session of `from` with `n`, by its key. */
export const to = (from: number, n: number, more: Partial<WantedPeer> = {}): [string, WantedPeer] => [
  `10.0.0.${n}`,
  {
    name: `n${n}`,
    type: "mesh",
    address: address(n),
    port,
    localAddress: address(from),
    localAs: 64512,
    peerAs: 64512,
    client: false,
    nextHop: "auto",
    holdTimeSeconds: 9,
    restartTimeSeconds: 5,
    allowedLocalAs: 0,
    ...more,
  },
];

/** What speaker `n` announces. */
export const block = (n: number): string => `10.244.${n}.0/26`;

export interface StartOptions {
  readonly me?: Self;
  readonly retrySeconds?: number;
  readonly log?: Log;
  readonly ranges?: readonly ListenRange[];
  readonly more?: Partial<SpeakerOptions>;
}

/** Speakers that end together. */
export class Speakers {
  readonly #running: { stop(): void }[] = [];

  /** Within new namespaces only. */
  static addAddresses(): void {
    execFileSync("sh", ["-c", "for n in $(seq 1 20); do ip addr add 10.0.0.$n/24 dev lo; done"]);
  }

  async start(n: number, peers: [string, WantedPeer][], options: StartOptions = {}): Promise<Speaker> {
    return (await this.startListening(n, peers, options)).speaker;
  }

  /** With the listener, on which passwords are set. */
  async startListening(
    n: number,
    peers: [string, WantedPeer][],
    { me = self(n), retrySeconds = 0.3, log = quiet, ranges = [], more = {} }: StartOptions = {},
  ): Promise<{ speaker: Speaker; listener: Listener }> {
    const speaker = new Speaker({
      ...{ log, cost: () => 0, onChanges: () => {}, restarting: false },
      connectRetrySeconds: retrySeconds,
      idleHoldSeconds: 0.1,
      ...more,
    });
    const listener = await listen({ addresses: [address(n)], port }, (c, from) => speaker.accept(c, from));
    this.#running.push(speaker, { stop: () => listener.close() });
    speaker.setOrigins(new Map([[block(n), parsePrefix(block(n))]]));
    speaker.setPeers(me, new Map(peers), ranges);
    return { speaker, listener };
  }

  /** One that stops by itself with the others. */
  add(one: { stop(): void }): void {
    this.#running.push(one);
  }

  stop(): void {
    for (const one of this.#running.splice(0)) one.stop();
  }
}

/** `"10.244.2.0/26 via 10.0.0.2"`, sorted. */
export const table = (s: Speaker): string[] =>
  [...s.ribs[4].entries()]
    .flatMap(({ prefix, best }) => {
      const hop = best?.attributes?.nextHop?.address;
      return best ? [`${formatPrefix(prefix)} ${hop ? `via ${formatAddress(hop)}` : "ours"}`] : [];
    })
    .sort();

/** The table of `n` when it has learned the blocks of `all`. */
export const full = (n: number, all: readonly number[]): string[] =>
  all.map((m) => (m === n ? `${block(m)} ours` : `${block(m)} via 10.0.0.${m}`)).sort();

/** The states that its sessions are in, each once. */
export const states = (s: Speaker): string[] => [
  ...new Set([...s.peers.values()].map((p) => p.session.state)),
];
