import { formatAsPath, type PolicyChange } from "@margay/bgp";
import { formatPrefix, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import type { WantedPeer } from "../config.ts";
import { run } from "./bird.ts";
import { Ours } from "./ours.ts";

const at = (n: number) => parseAddress(`172.20.0.${n}`);
const network = "10.9.0.0/16";

/** What a peer's export policy does to everything. */
export const changed = (...set: PolicyChange[]): Partial<WantedPeer> => ({
  policyTerms: { export: { statements: [{ match: {}, set, verdict: "accept" }], otherwise: "accept" } },
});

/** A speaker of ours, AS 64512, beside another daemon at 172.20.0.2, AS 65000 (`wire`). */
export class Around {
  us: Ours | undefined;
  #upstream: Ours | undefined;

  /** With the address of the speaker behind ours. */
  static addAddresses(): void {
    run("ip addr add 172.20.0.3/24 dev eth0");
  }

  /** Announces 10.9.0.0/16, or these, as its own, by these terms. */
  async start(terms: Partial<WantedPeer>, networks: readonly string[] = [network]): Promise<Ours> {
    const origins = new Map(networks.map((text) => [text, parsePrefix(text)]));
    this.us = await Ours.start({
      ...{ n: 11, as: 64512, origins },
      peers: [{ address: at(2), peerAs: 65000, ...terms }],
    });
    return this.us;
  }

  /** Announces 10.9.0.0/16 to whoever comes from a network. */
  async startListening(range: Prefix): Promise<void> {
    const terms = { peerAs: 65000 };
    const origins = new Map([[network, parsePrefix(network)]]);
    this.us = await Ours.start({ n: 11, as: 64512, origins, peers: [], range: { range, terms } });
  }

  /** Passes on 10.9.0.0/16 of another router by these terms: behind a private AS and a public one, of a next hop off the link. */
  async startBetween(terms: Partial<WantedPeer>): Promise<void> {
    const peers: Partial<WantedPeer>[] = [
      { address: at(3), peerAs: 65010, passive: true },
      { address: at(2), peerAs: 65000, ...terms },
    ];
    this.us = await Ours.start({ n: 11, as: 64512, peers, origins: new Map() });
    const behind = changed(
      { kind: "prepend", as: 3356, times: 1 },
      { kind: "prepend", as: 64999, times: 1 },
      { kind: "next-hop", value: { address: parseAddress("198.51.100.9") } },
    );
    this.#upstream = await Ours.start({
      ...{ n: 3, as: 65010, peers: [{ address: at(11), peerAs: 64512, ...behind }] },
      origins: new Map([[network, parsePrefix(network)]]),
    });
  }

  /** What ours makes of the other daemon's 192.0.2.0/24: AS_PATH, LOCAL_PREF and OTC, or why it is refused. */
  heard(): string | undefined {
    const all = [...(this.us?.speaker.ribs[4].entries() ?? [])];
    const found = all.find(({ prefix }) => formatPrefix(prefix) === "192.0.2.0/24")?.paths[0];
    if (!found?.attributes) return found?.refused;
    return `${formatAsPath(found.attributes.asPath)}, ${found.attributes.localPref}, ${found.attributes.onlyToCustomer}`;
  }

  stop(): void {
    this.us?.stop();
    this.#upstream?.stop();
    this.#upstream = undefined;
  }
}
