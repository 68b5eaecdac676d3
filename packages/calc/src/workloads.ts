import type { Direction, LocalEndpoint, Problem } from "./model.ts";
import { compareText, placeOfId } from "./order.ts";
import type { Tiers } from "./policy-table.ts";

export type BareEndpoint = Omit<LocalEndpoint, Direction | "ok" | "staged" | "floating" | "floatingTaken">;

/** What an endpoint is resolved against. */
export interface Resolution {
  tiersOf(id: string): Tiers;
  hasProfile(name: string): boolean;
  /** Whether endpoints may use the further sources that they ask for. */
  readonly maySpoof: boolean;
  /** Its floating addresses; undefined: there are none for anybody. */
  readonly floatingOf: ((id: string) => Pick<LocalEndpoint, "floating" | "floatingTaken">) | undefined;
}

const FEW = 32;

/** The endpoints of this node, put together with their policies. */
export class Workloads {
  readonly #bare = new Map<string, BareEndpoint>();
  /** The endpoints that claim an interface: one, or something is wrong. */
  readonly #byInterface = new Map<string, Set<string>>();
  readonly #resolved = new Map<string, LocalEndpoint>();
  /** Of the resolved that are not ok. */
  readonly #problems = new Map<string, readonly Problem[]>();
  /** As last handed out, in order of id, and what of them is to be resolved anew or has gone since. */
  #all: readonly LocalEndpoint[] = [];
  readonly #touched = new Set<string>();
  #maySpoof = false;
  #isFloating = false;

  set(endpoint: BareEndpoint): void {
    const { id, interfaceName } = endpoint;
    this.delete(id);
    this.#bare.set(id, endpoint);
    const ids = this.#byInterface.get(interfaceName) ?? new Set();
    this.#byInterface.set(interfaceName, ids.add(id));
    for (const rival of ids) this.forget(rival);
  }

  delete(id: string): void {
    const name = this.#bare.get(id)?.interfaceName;
    if (name === undefined) return;
    const ids = this.#byInterface.get(name) ?? new Set();
    for (const rival of ids) this.forget(rival);
    ids.delete(id);
    if (ids.size === 0) this.#byInterface.delete(name);
    this.#bare.delete(id);
  }

  has(id: string): boolean {
    return this.#bare.has(id);
  }

  profilesOf(id: string): readonly string[] {
    return this.#bare.get(id)?.profiles ?? [];
  }

  /** What is known of an endpoint besides its resource changed: resolve it anew. */
  forget(id: string): void {
    this.#resolved.delete(id);
    this.#problems.delete(id);
    if (this.#bare.has(id)) this.#touched.add(id); // the policies of host endpoints are told here, too
  }

  /** A profile came or went. */
  forgetProfile(name: string): void {
    for (const { id, profiles } of this.#bare.values()) if (profiles.includes(name)) this.forget(id);
  }

  /** All endpoints by id; the same array until one changes. */
  resolve(against: Resolution): readonly LocalEndpoint[] {
    const isFloating = against.floatingOf !== undefined;
    if (against.maySpoof !== this.#maySpoof || isFloating !== this.#isFloating)
      for (const id of this.#bare.keys()) this.forget(id);
    this.#maySpoof = against.maySpoof;
    this.#isFloating = isFloating;
    if (this.#touched.size > 0) this.#all = this.#edited(against);
    this.#touched.clear();
    return this.#all;
  }

  /** Many are put in order anew, few in their places. */
  #edited(against: Resolution): readonly LocalEndpoint[] {
    if (this.#touched.size > FEW)
      return [...this.#bare.keys()].sort(compareText).flatMap((id) => this.#resolve(id, against) ?? []);
    const all = [...this.#all];
    for (const id of this.#touched) {
      const at = placeOfId(all, id);
      const now = this.#resolve(id, against);
      all.splice(at, all[at]?.id === id ? 1 : 0, ...(now ? [now] : []));
    }
    return all;
  }

  /** Why endpoints are not ok, as of the last `resolve`. */
  problems(): readonly Problem[] {
    return [...this.#problems.values()].flat();
  }

  #resolve(id: string, { tiersOf, hasProfile, maySpoof, floatingOf }: Resolution): LocalEndpoint | undefined {
    const known = this.#resolved.get(id);
    const bare = this.#bare.get(id);
    if (known || !bare) return known;
    const missing = bare.profiles
      .filter((name) => !hasProfile(name))
      .map((name) => `there is no profile ${name}`);
    const rivals = [...(this.#byInterface.get(bare.interfaceName) ?? [])]
      .filter((other) => other !== id)
      .sort(compareText);
    const taken = rivals.map((other) => `interface ${bare.interfaceName} is also that of ${other}`);
    const problems = [...missing, ...taken].map((why) => ({ subject: id, why }));
    const spoofable = maySpoof ? bare.spoofable : [];
    const endpoint = { ...bare, spoofable, ...floatingOf?.(id), ...tiersOf(id), ok: problems.length === 0 };
    this.#resolved.set(id, endpoint);
    if (problems.length > 0) this.#problems.set(id, problems);
    return endpoint;
  }
}
