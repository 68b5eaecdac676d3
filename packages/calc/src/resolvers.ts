import { type FelixSettings, parseResolver } from "@margay/api";
import { hostPrefix } from "@margay/net";
import type { ActiveSets } from "./active-sets.ts";
import type { Resolvers } from "./model.ts";
import { behindService, type SetSpec, setId } from "./set-spec.ts";

/** Who is believed about domains, while any rule names one: the sets of services among them are in use for as long. */
export class ResolverSets {
  readonly #sets: ActiveSets;
  #last:
    | {
        readonly servers: readonly string[];
        readonly resolvers: Resolvers;
        readonly specs: ReadonlyMap<string, SetSpec>;
      }
    | undefined;

  constructor(sets: ActiveSets) {
    this.#sets = sets;
  }

  /** The same object while it says the same; undefined where no rule in use names a domain. */
  of({ dnsTrustedServers: servers }: Pick<FelixSettings, "dnsTrustedServers">): Resolvers | undefined {
    const isNeeded = this.#sets.domains.size > 0;
    if (isNeeded && this.#last?.servers.join() === servers.join()) return this.#last.resolvers;
    const now = isNeeded ? read(servers) : undefined;
    for (const [id, spec] of now?.specs ?? []) this.#sets.retain(id, spec);
    for (const id of this.#last?.specs.keys() ?? []) this.#sets.release(id);
    this.#last = now && { servers, ...now };
    return now?.resolvers;
  }
}

function read(servers: readonly string[]) {
  const all = servers.map(parseResolver);
  const nets = all.flatMap((one) => (one.kind === "address" ? [hostPrefix(one.address)] : []));
  const specs = new Map(
    all
      .flatMap((one) => (one.kind === "service" ? [behindService(`${one.namespace}/${one.name}`)] : []))
      .map((spec) => [setId(spec), spec]),
  );
  return { resolvers: { nets, sets: [...specs.keys()] }, specs };
}
