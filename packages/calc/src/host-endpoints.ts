import type { HostStage, HostTiers, LocalHostEndpoint, Problem } from "./model.ts";
import { compareText } from "./order.ts";

export type BareHostEndpoint = Omit<LocalHostEndpoint, HostStage | "ok">;

interface Against {
  hostTiersOf(id: string): HostTiers;
  hasProfile(name: string): boolean;
}

/** The host endpoints of this node, put together with their policies. Few: all are made anew when one changes. */
export class HostEndpoints {
  readonly #bare = new Map<string, BareHostEndpoint>();
  #all: readonly LocalHostEndpoint[] | undefined;
  #problems: readonly Problem[] = [];

  /** Undefined: no longer there. */
  set(id: string, endpoint: BareHostEndpoint | undefined): void {
    if (endpoint) this.#bare.set(id, endpoint);
    else if (!this.#bare.delete(id)) return;
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

  /** One for each interface, the first by name; the same array until one changes. */
  resolve(against: Against): readonly LocalHostEndpoint[] {
    if (this.#all) return this.#all;
    const problems: Problem[] = [];
    const taken = new Map<string, string>();
    const all: LocalHostEndpoint[] = [];
    for (const bare of [...this.#bare.values()].sort((a, b) => compareText(a.id, b.id))) {
      const rival = taken.get(bare.interfaceName);
      if (rival !== undefined) {
        problems.push({
          subject: bare.id,
          why: `not enforced: interface ${bare.interfaceName} is that of ${rival}`,
        });
        continue;
      }
      taken.set(bare.interfaceName, bare.id);
      const missing = bare.profiles.filter((name) => !against.hasProfile(name));
      problems.push(...missing.map((name) => ({ subject: bare.id, why: `there is no profile ${name}` })));
      all.push({ ...bare, ...against.hostTiersOf(bare.id), ok: missing.length === 0 });
    }
    this.#problems = problems;
    this.#all = all;
    return all;
  }

  /** As of the last `resolve`. */
  problems(): readonly Problem[] {
    return this.#problems;
  }
}
