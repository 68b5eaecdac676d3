import { type Address, formatAddress } from "@margay/net";
import type { HostStage, HostTiers, LocalHostEndpoint, Problem, StagedHostTiers } from "./model.ts";
import { compareText } from "./order.ts";

export interface BareHostEndpoint extends Omit<LocalHostEndpoint, HostStage | "ok" | "interfaceName"> {
  /** Absent: every interface that has one of `expected`. */
  readonly interfaceName?: string;
  readonly expected: readonly Address[];
  /** What would be refused of it now: it is enforced as it always was. */
  readonly outdated?: string;
}

/** The addresses of the node's interfaces, as text, by the interface's name. */
export type InterfaceAddresses = ReadonlyMap<string, ReadonlySet<string>>;

interface Against {
  hostTiersOf(id: string): HostTiers & { readonly staged?: StagedHostTiers };
  hasProfile(name: string): boolean;
}

/** An endpoint and the interface that it is for. */
interface Placed {
  readonly bare: BareHostEndpoint;
  readonly interfaceName: string;
}

/** The host endpoints of this node, put together with their policies. Few: all are made anew when one changes. */
export class HostEndpoints {
  readonly #bare = new Map<string, BareHostEndpoint>();
  #interfaces: InterfaceAddresses | undefined;
  #all: readonly LocalHostEndpoint[] | undefined;
  #problems: readonly Problem[] = [];

  /** Undefined: no longer there. */
  set(id: string, endpoint: BareHostEndpoint | undefined): void {
    if (endpoint) this.#bare.set(id, endpoint);
    else if (!this.#bare.delete(id)) return;
    this.#all = undefined;
  }

  /** Which interface has which addresses. Before this, each endpoint found by address is on an interface of its own. */
  setInterfaces(interfaces: InterfaceAddresses): void {
    this.#interfaces = interfaces;
    if ([...this.#bare.values()].some(({ interfaceName }) => interfaceName === undefined))
      this.#all = undefined;
  }

  has(id: string): boolean {
    return this.#bare.has(id);
  }

  profilesOf(id: string): readonly string[] {
    return this.#bare.get(id)?.profiles ?? [];
  }

  /** Something that it depends on changed. */
  forget(id: string): void {
    if (this.has(id)) this.#all = undefined;
  }

  /** A profile came or went. */
  forgetAll(): void {
    if (this.#bare.size > 0) this.#all = undefined;
  }

  /** One for each interface: one by its name before one by an address (calico.md §1.8), then by id. The same array until one changes. */
  resolve(against: Against): readonly LocalHostEndpoint[] {
    if (this.#all) return this.#all;
    const isThere = (name: string) => against.hasProfile(name);
    const problems = [...this.#bare.values()].flatMap(({ id, profiles, outdated }) => [
      ...(outdated === undefined ? [] : [{ subject: id, why: outdated, isInForce: true as const }]),
      ...profiles
        .filter((name) => !isThere(name))
        .map((name) => ({ subject: id, why: `there is no profile ${name}` })),
    ]);
    const taken = new Map<string, string>();
    const all: LocalHostEndpoint[] = [];
    for (const { bare, interfaceName } of this.#places(problems)) {
      const { id, profiles } = bare;
      const rival = taken.get(interfaceName);
      if (rival !== undefined) {
        problems.push({ subject: id, why: `not enforced: interface ${interfaceName} is that of ${rival}` });
        continue;
      }
      taken.set(interfaceName, id);
      all.push({ id, interfaceName, profiles, ...against.hostTiersOf(id), ok: profiles.every(isThere) });
    }
    this.#problems = problems;
    this.#all = all;
    return all;
  }

  /** Those with a name first; one found by address once for each interface. */
  #places(problems: Problem[]): readonly Placed[] {
    const sorted = [...this.#bare.values()].sort((a, b) => compareText(a.id, b.id));
    const named = sorted.flatMap((bare) =>
      bare.interfaceName === undefined ? [] : [{ bare, interfaceName: bare.interfaceName }],
    );
    const found = sorted
      .filter(({ interfaceName }) => interfaceName === undefined)
      .flatMap((bare) => {
        const at = interfacesWith(bare.expected.map(formatAddress), this.#interfaces);
        if (at.length === 0) problems.push({ subject: bare.id, why: nowhere(bare.expected) });
        return at.map((interfaceName) => ({ bare, interfaceName }));
      });
    return [...named, ...found];
  }

  /** As of the last `resolve`. */
  problems(): readonly Problem[] {
    return this.#problems;
  }
}

/** By name; of a node whose interfaces are not known, one that stands for them all, which no interface can be called. */
function interfacesWith(addresses: readonly string[], known: InterfaceAddresses | undefined): string[] {
  if (!known) return [`with ${addresses.join(" or ")}`];
  const having = [...known].filter(([, its]) => addresses.some((address) => its.has(address)));
  return having.map(([name]) => name).sort(compareText);
}

const nowhere = (expected: readonly Address[]): string =>
  `not enforced: no interface of the node has ${expected.map(formatAddress).join(" or ")}`;
