/** What peers tell us: import policy and filters, into the Adj-RIBs-In. */
import {
  applyFilter,
  attributeInterner,
  type Imported,
  importer,
  type Rib,
  type Source,
  type Update,
} from "@margay/bgp";
import type { Family } from "@margay/net";
import type { Self, WantedPeer } from "./config.ts";

export class Learner {
  readonly #ribs: Readonly<Record<Family, Rib>>;
  readonly #intern = attributeInterner();
  readonly #importers = new WeakMap<Source, ReturnType<typeof importer>>();

  constructor(ribs: Readonly<Record<Family, Rib>>) {
    this.#ribs = ribs;
  }

  /** A session is up: how its routes are judged from now on. */
  begin(source: Source, wanted: WantedPeer, self: Self | undefined): void {
    const policy = {
      localAs: wanted.localAs,
      bgpId: self?.bgpId ?? 0,
      ownAddresses: Object.values(self?.addresses ?? {}).flatMap((a) => (a ? [a.address] : [])),
      allowedLocalAs: wanted.allowedLocalAs,
      ...(self?.clusterId !== undefined ? { clusterId: self.clusterId } : {}),
    };
    this.#importers.set(source, importer(policy, source));
  }

  /** Puts an UPDATE into the RIBs; the decision comes later. */
  learn(source: Source, { filters }: WantedPeer, { withdrawn, announced }: Update): void {
    const imports = this.#importers.get(source);
    if (!imports) return;
    for (const nlri of withdrawn) this.#ribs[nlri.family].withdraw(source, nlri);
    for (const { nlri, attributes: received } of announced) {
      const rib = this.#ribs[nlri.family];
      const imported = imports(received);
      const rules = filters?.import[nlri.family] ?? [];
      if (rules.length === 0 || "refused" in imported) rib.announce(source, nlri, { received, imported });
      else
        rib.prefixes.eachId(nlri, (id) => {
          const prefix = rib.prefixes.prefix(id);
          const peerType = source.kind === "ibgp" ? "ibgp" : "ebgp";
          const verdict = applyFilter(rules, {
            prefix,
            attributes: imported.attributes,
            learned: true,
            peerType,
          });
          rib.put(source, id, { received, imported: this.#after(verdict, imported) });
        });
    }
  }

  #after(verdict: ReturnType<typeof applyFilter>, imported: Imported): Imported {
    if (!verdict) return imported; // no rule matched: import policy stands
    return verdict.accept
      ? { attributes: this.#intern(verdict.attributes) }
      : { refused: "refused by a BGPFilter" };
  }
}
