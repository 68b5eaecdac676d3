import type { Attributes, Rib, Route, Source } from "@margay/bgp";
import { type Family, type Prefix, parseAddress } from "@margay/net";

const attributes: Attributes = { origin: "igp", asPath: [], localPref: 100 };

/** What we announce as our own, in the RIBs beside what peers say. */
export class OwnRoutes {
  readonly #ribs: Readonly<Record<Family, Rib>>;
  readonly #source: Source = {
    kind: "local",
    name: "local",
    as: 0,
    bgpId: 0,
    address: parseAddress("0.0.0.0"),
    client: false,
  };
  readonly #route: Route = { source: this.#source, received: attributes, attributes };
  #prefixes: ReadonlyMap<string, Prefix> = new Map();

  constructor(ribs: Readonly<Record<Family, Rib>>) {
    this.#ribs = ribs;
  }

  /** These, by text, and no others. */
  set(prefixes: ReadonlyMap<string, Prefix>): void {
    for (const [text, prefix] of this.#prefixes) if (!prefixes.has(text)) this.#withdraw(prefix);
    for (const [text, prefix] of prefixes) if (!this.#prefixes.has(text)) this.#announce(prefix);
    this.#prefixes = new Map(prefixes);
  }

  #announce(prefix: Prefix): void {
    const rib = this.#ribs[prefix.family];
    rib.put(rib.prefixes.add(prefix), this.#route);
  }

  #withdraw(prefix: Prefix): void {
    const rib = this.#ribs[prefix.family];
    rib.remove(this.#source, rib.prefixes.add(prefix));
  }
}
