import type { ActiveSets } from "./active-sets.ts";
import { Compilations } from "./compilations.ts";
import type { PolicySource } from "./compile.ts";
import type { CompiledPolicy } from "./model.ts";
import { profileId } from "./resources.ts";

/** Built into every cluster (calico.md §1.1): allows everything, both ways. */
const DEFAULT_ALLOW = "projectcalico-default-allow";

/** Profiles, and which of them the endpoints of this node name. */
export class ProfileTable {
  readonly #compiled: Compilations;
  readonly #sources = new Map<string, PolicySource>();
  /** How many local endpoints name each profile. */
  readonly #users = new Map<string, number>();

  constructor(sets: ActiveSets) {
    this.#compiled = new Compilations(sets);
    this.set(DEFAULT_ALLOW, undefined);
  }

  /** Undefined: there is no such profile. */
  set(name: string, source: PolicySource | undefined): void {
    const its = name === DEFAULT_ALLOW ? defaultAllow : source;
    if (its) this.#sources.set(name, its);
    else this.#sources.delete(name);
    this.#refresh(name);
  }

  has(name: string): boolean {
    return this.#sources.has(name);
  }

  /** A local endpoint named `before` and now names `after`. */
  moveUser(before: readonly string[], after: readonly string[]): void {
    for (const name of after) this.#count(name, 1);
    for (const name of before) this.#count(name, -1);
  }

  compiled(): ReadonlyMap<string, CompiledPolicy> {
    return this.#compiled.snapshot();
  }

  #count(name: string, by: 1 | -1): void {
    const old = this.#users.get(name) ?? 0;
    const count = old + by;
    if (count > 0) this.#users.set(name, count);
    else this.#users.delete(name);
    if (old > 0 !== count > 0) this.#refresh(name);
  }

  #refresh(name: string): void {
    this.#compiled.set(name, this.#users.has(name) ? this.#sources.get(name) : undefined);
  }
}

const defaultAllow: PolicySource = {
  id: profileId(DEFAULT_ALLOW),
  ingress: [{ action: "Allow" }],
  egress: [{ action: "Allow" }],
};
