import type { ActiveSets, SetSpec } from "./active-sets.ts";
import { compile, type PolicySource } from "./compile.ts";
import type { CompiledPolicy } from "./model.ts";

/** The policies (or profiles) in use here, compiled; each holds on to the sets that its rules refer to. */
export class Compilations {
  readonly #sets: ActiveSets;
  readonly #compiled = new Map<
    string,
    { readonly policy: CompiledPolicy; readonly sets: ReadonlyMap<string, SetSpec> }
  >();
  #snapshot: ReadonlyMap<string, CompiledPolicy> | undefined;

  constructor(sets: ActiveSets) {
    this.#sets = sets;
  }

  /** Compiles `source` in place of what `id` was before; undefined: no longer in use. */
  set(id: string, source: PolicySource | undefined): void {
    const old = this.#compiled.get(id);
    if (!source && !old) return;
    const next = source && compile(source);
    for (const [set, spec] of next?.sets ?? []) this.#sets.retain(set, spec);
    for (const set of old?.sets.keys() ?? []) this.#sets.release(set);
    if (next) this.#compiled.set(id, next);
    else this.#compiled.delete(id);
    this.#snapshot = undefined;
  }

  has(id: string): boolean {
    return this.#compiled.has(id);
  }

  /** All by id; the same object until one changes. */
  snapshot(): ReadonlyMap<string, CompiledPolicy> {
    this.#snapshot ??= new Map([...this.#compiled].map(([id, { policy }]) => [id, policy]));
    return this.#snapshot;
  }
}
