/** Speakers of ours for tests: in this namespace, one for each address 172.20.0.n. */
import { type Family, formatAddress, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import type { Self, WantedPeer } from "../config.ts";
import { Speaker } from "../speaker.ts";
import { type Listener, listen } from "../transport.ts";

const quiet = { info: () => {}, warn: () => {}, debug: () => {} };

export interface OursOptions {
  /** The last number of its address. */
  readonly n: number;
  /** Its sessions go over IPv6, fd00:172:20::n. */
  readonly overIPv6?: boolean;
  readonly as: number;
  readonly peers: readonly Partial<WantedPeer>[];
  /** Who comes from there is a peer by these terms, too. */
  readonly range?: { readonly range: Prefix; readonly terms: Partial<WantedPeer> };
  readonly clusterId?: number;
  /** It follows one that was killed. */
  readonly restarting?: boolean;
  /** What it announces, by text. */
  readonly origins: ReadonlyMap<string, Prefix>;
}

export class Ours {
  readonly speaker: Speaker;
  readonly #listener: Listener;
  private constructor(speaker: Speaker, listener: Listener) {
    this.speaker = speaker;
    this.#listener = listener;
  }

  static async start({
    n,
    as,
    overIPv6 = false,
    peers,
    range,
    clusterId,
    restarting = false,
    origins,
  }: OursOptions): Promise<Ours> {
    const [address4, address6] = [parseAddress(`172.20.0.${n}`), parseAddress(`fd00:172:20::${n}`)];
    const address = overIPv6 ? address6 : address4;
    const self: Self = {
      node: `n${n}`,
      as,
      bgpId: n,
      ...(clusterId === undefined ? {} : { clusterId }),
      addresses: {
        4: { address: address4, subnet: parsePrefix("172.20.0.0/24") },
        6: { address: address6, subnet: parsePrefix("fd00:172:20::/64") },
      },
      listenPort: 179,
      bindNodeAddress: true,
      metric: { 4: 1024, 6: 1024 },
    };
    const speaker = new Speaker({
      log: quiet,
      cost: () => 0,
      onChanges: () => {},
      restarting,
      connectRetrySeconds: 0.5,
      idleHoldSeconds: 0.2,
    });
    const listener = await listen({ addresses: [address], port: 179 }, (c, from) => speaker.accept(c, from));
    const wantedOf = (more: Partial<WantedPeer>): WantedPeer => ({
      ...{
        name: "other",
        type: "global",
        address,
        port: 179,
        localAddress: address,
        localAs: as,
        peerAs: as,
      },
      ...{ client: false, nextHop: "auto", holdTimeSeconds: 90, restartTimeSeconds: 30, allowedLocalAs: 0 },
      ...more,
    });
    const wanted = peers.map(wantedOf);
    const keyed = wanted.flatMap((p) =>
      p.password ? [[p.name, { peer: p.address, password: p.password }] as const] : [],
    );
    listener.protect(new Map(keyed));
    speaker.setOrigins(origins);
    const ranges = range ? [{ range: range.range, limit: 10, template: wantedOf(range.terms) }] : [];
    speaker.setPeers(self, new Map(wanted.map((p) => [formatAddress(p.address), p])), ranges);
    return new Ours(speaker, listener);
  }

  state(): string {
    return [...this.speaker.peers.values()].map((p) => p.session.state).join();
  }

  /** Prefixes that were learned and chosen. */
  learned(family: Family): number {
    const rib = this.speaker.ribs[family];
    return [...rib.ids()].filter((id) => rib.best(id)?.source.kind !== "local" && rib.best(id)).length;
  }

  stop(): void {
    this.speaker.stop();
    this.#listener.close();
  }
}
