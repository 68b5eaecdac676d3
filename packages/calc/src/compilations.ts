import { Bucketed } from "@margay/reconcile";
import type { ActiveSets } from "./active-sets.ts";
import { type Compiled, closed, compile, type PolicySource } from "./compile.ts";
import type { CompiledPolicy } from "./model.ts";

/** The policies (or profiles) in use here, compiled; each holds on to the sets that its rules refer to. */
export class Compilations {
  readonly #sets: ActiveSets;
  readonly #compiled = new Map<string, Compiled>();
  /** What last stood for each that was closed: the same as long as the reason is the same. */
  readonly #closed = new WeakMap<CompiledPolicy, CompiledPolicy>();
  #snapshot = Bucketed.empty<CompiledPolicy>();
  /** Since the last snapshot. */
  readonly #changed = new Set<string>();
  #doubts: ActiveSets["doubts"] = [];

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
    this.#changed.add(id);
  }

  has(id: string): boolean {
    return this.#compiled.has(id);
  }

  /** All by id; the same object until one changes. One that needs to know a set whole, and cannot, is closed. */
  snapshot(): ReadonlyMap<string, CompiledPolicy> {
    const { doubts } = this.#sets;
    if (this.#doubts !== doubts) for (const id of this.#compiled.keys()) this.#changed.add(id);
    this.#doubts = doubts;
    const current = (id: string): CompiledPolicy | undefined => {
      const compiled = this.#compiled.get(id);
      return compiled && (this.#standIn(compiled) ?? compiled.policy);
    };
    this.#snapshot = this.#snapshot.edited([...this.#changed].map((id) => [id, current(id)] as const));
    this.#changed.clear();
    return this.#snapshot;
  }

  #standIn({ policy, critical }: Compiled): CompiledPolicy | undefined {
    if (this.#sets.doubts.length === 0) return undefined;
    const why = [...critical].map((set) => this.#sets.doubtOf(set)).find((doubt) => doubt !== undefined);
    if (why === undefined) return undefined;
    const before = this.#closed.get(policy);
    const stand = before?.problem === why ? before : closed(policy, why);
    this.#closed.set(policy, stand);
    return stand;
  }
}
