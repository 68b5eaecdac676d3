import type { ActiveSets } from "./active-sets.ts";
import { type Compiled, closed, compile, type PolicySource } from "./compile.ts";
import type { CompiledPolicy } from "./model.ts";

/** The policies (or profiles) in use here, compiled; each holds on to the sets that its rules refer to. */
export class Compilations {
  readonly #sets: ActiveSets;
  readonly #compiled = new Map<string, Compiled>();
  /** What each closed policy stands for, as long as the reason is the same. */
  #closed: ReadonlyMap<CompiledPolicy, CompiledPolicy> = new Map();
  #snapshot: ReadonlyMap<string, CompiledPolicy> | undefined;
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
    this.#snapshot = undefined;
  }

  has(id: string): boolean {
    return this.#compiled.has(id);
  }

  /** All by id; the same object until one changes. One that needs to know a set whole, and cannot, is closed. */
  snapshot(): ReadonlyMap<string, CompiledPolicy> {
    const { doubts } = this.#sets;
    if (this.#snapshot && this.#doubts === doubts) return this.#snapshot;
    const closedNow = new Map<CompiledPolicy, CompiledPolicy>();
    const next = new Map(
      [...this.#compiled].map(([id, compiled]) => {
        const stand = this.#standIn(compiled);
        if (stand) closedNow.set(compiled.policy, stand);
        return [id, stand ?? compiled.policy];
      }),
    );
    this.#closed = closedNow;
    this.#doubts = doubts;
    this.#snapshot = next;
    return next;
  }

  #standIn({ policy, critical }: Compiled): CompiledPolicy | undefined {
    if (this.#sets.doubts.length === 0) return undefined;
    const why = [...critical].map((set) => this.#sets.doubtOf(set)).find((doubt) => doubt !== undefined);
    if (why === undefined) return undefined;
    const before = this.#closed.get(policy);
    return before?.problem === why ? before : closed(policy, why);
  }
}
