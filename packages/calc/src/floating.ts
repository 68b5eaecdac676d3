import type { WorkloadEndpoint } from "@margay/api";
import { type Address, formatAddress, parseAddress } from "@margay/net";
import type { FloatingAddress, LocalEndpoint } from "./model.ts";
import { compareText } from "./order.ts";

/** An endpoint that asks for floating addresses. */
export interface FloatingClaim {
  /** `<namespace>/<name>`. */
  readonly id: string;
  /** When it was made, ISO; the earlier has what both ask for. */
  readonly since: string;
  readonly asked: readonly FloatingAddress[];
}

/** Of an endpoint without a time nobody knows that it was first. */
const LAST = "9999";

/** What the endpoint asks for; undefined: nothing. */
export function floatingClaim({ metadata, spec }: WorkloadEndpoint): FloatingClaim | undefined {
  if (!spec.ipNATs?.length) return undefined;
  const asked = spec.ipNATs
    .map(({ internalIP, externalIP }) => ({
      external: parseAddress(externalIP),
      internal: parseAddress(internalIP),
    }))
    .filter(({ external, internal }) => external.family === internal.family); // a former version took others
  return { id: `${metadata.namespace}/${metadata.name}`, since: metadata.creationTimestamp ?? LAST, asked };
}

/**
 * Who has which floating address. Of several who ask for one, the endpoint that was made first has it until it goes; all nodes
 * agree, as it depends on the endpoints alone.
 */
export class FloatingTable {
  readonly #claims = new Map<string, FloatingClaim>();
  readonly #byAddress = new Map<string, Set<string>>();

  /** Resolves to those for whom this may change what they have. */
  set(id: string, claim: FloatingClaim | undefined): ReadonlySet<string> {
    const before = this.#claims.get(id);
    if (!before && !claim) return NOBODY;
    const texts = [...(before?.asked ?? []), ...(claim?.asked ?? [])].map(({ external }) =>
      formatAddress(external),
    );
    for (const text of texts) this.#byAddress.get(text)?.delete(id);
    this.#claims.delete(id);
    if (claim) this.#claims.set(id, claim);
    for (const { external } of claim?.asked ?? []) this.#asking(external).add(id);
    const concerned = new Set([id, ...texts.flatMap((text) => [...(this.#byAddress.get(text) ?? [])])]);
    for (const text of texts) if (this.#byAddress.get(text)?.size === 0) this.#byAddress.delete(text);
    return concerned;
  }

  /** What the endpoint has of what it asks for, and who has the rest. */
  of(id: string): Pick<LocalEndpoint, "floating" | "floatingTaken"> {
    const { asked = [] } = this.#claims.get(id) ?? {};
    const held = asked.map((one) => ({ ...one, by: this.holder(one.external) ?? id }));
    const floating = held.filter(({ by }) => by === id).map(({ by: _self, ...one }) => one);
    const taken = held.filter(({ by }) => by !== id).map(({ external, by }) => ({ external, by }));
    return { ...(floating.length > 0 && { floating }), ...(taken.length > 0 && { floatingTaken: taken }) };
  }

  /** The endpoint's id. */
  holder(external: Address): string | undefined {
    const rivals = [...(this.#byAddress.get(formatAddress(external)) ?? [])];
    const since = (id: string) => this.#claims.get(id)?.since ?? LAST;
    const [first] = rivals.sort((a, b) => compareText(since(a), since(b)) || compareText(a, b));
    return first;
  }

  #asking(external: Address): Set<string> {
    const text = formatAddress(external);
    const ids = this.#byAddress.get(text) ?? new Set();
    this.#byAddress.set(text, ids);
    return ids;
  }
}

const NOBODY: ReadonlySet<string> = new Set();
