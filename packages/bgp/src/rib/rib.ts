import type { Family, Prefix } from "@margay/net";
import { remember } from "../remember.ts";
import type { Attributes } from "../wire/attributes.ts";
import type { Nlri } from "../wire/nlri.ts";
import { type Cost, decide } from "./decision.ts";
import type { Path, Source } from "./path.ts";
import { PrefixTable } from "./prefix-table.ts";

/** What import policy made of one set of attributes. */
export type Imported = { readonly attributes: Attributes } | { readonly refused: string };

/** A prefix whose best path, or whose set of equal paths, is another than before. */
export interface Change {
  readonly id: number;
  readonly best?: Path;
  /** The best path is another one (not only its equals). */
  readonly bestChanged: boolean;
}

/** Prefixes of one source: in its Adj-RIB-In, accepted by import policy, chosen as best. */
export interface Counts {
  readonly received: number;
  readonly accepted: number;
  readonly best: number;
}

/**
 * The Adj-RIBs-In and the Loc-RIB of one family, RFC 4271 §3.2: for every prefix the paths of all sources, one per
 * source, and the best of them. Changes gather until `decide` is called, once per turn of the caller's loop.
 */
export class Rib {
  readonly prefixes: PrefixTable;
  readonly #cost: Cost;
  readonly #paths: (Path[] | undefined)[] = [];
  readonly #best: (Path | undefined)[] = [];
  /** Only where more than one path is equal. */
  readonly #equal = new Map<number, readonly Path[]>();
  #dirty = new Set<number>();
  readonly #counts = new Map<Source, { received: number; accepted: number; best: number }>();

  constructor({ family, cost }: { family: Family; cost: Cost }) {
    this.prefixes = new PrefixTable(family);
    this.#cost = cost;
  }

  /** Puts routes into the source's Adj-RIB-In, replacing what it said before of the same prefixes. */
  announce(
    source: Source,
    nlri: Nlri,
    { received, imported }: { received: Attributes; imported: Imported },
  ): void {
    this.prefixes.eachId(nlri, (id) => this.put(source, id, { received, imported }));
  }

  /** One prefix of `announce`, for policies that look at the prefix. */
  put(
    source: Source,
    id: number,
    { received, imported }: { received: Attributes; imported: Imported },
  ): void {
    const paths = this.#paths[id] ?? [];
    this.#paths[id] = paths;
    const at = paths.findIndex((p) => p.source === source);
    const before = paths[at];
    if (before && before.received === received && sameImport(before, imported)) {
      before.stale = false;
      return;
    }
    const path: Path = { source, received, stale: false, lost: undefined, ...imported };
    this.#count(source, before, -1);
    this.#count(source, path, 1);
    if (before) paths[at] = path;
    else paths.push(path);
    this.#dirty.add(id);
  }

  /** Takes routes out of the source's Adj-RIB-In; those it never announced are ignored. */
  withdraw(source: Source, nlri: Nlri): void {
    this.prefixes.eachId(nlri, (id) => this.remove(source, id));
  }

  /** One prefix of `withdraw`. */
  remove(source: Source, id: number): void {
    const paths = this.#paths[id];
    const at = paths?.findIndex((p) => p.source === source) ?? -1;
    if (!paths || at < 0) return;
    this.#count(source, paths[at], -1);
    paths.splice(at, 1);
    this.#dirty.add(id);
  }

  /** The session is gone: its whole Adj-RIB-In goes. */
  forget(source: Source): void {
    for (let id = 0; id < this.#paths.length; id++) this.remove(source, id);
  }

  /** RFC 4724 §4.2: the peer restarts; its routes stay until it says them again or `sweepStale`. */
  markStale(source: Source): void {
    for (const path of this.#of(source)) path.stale = true;
  }

  /** Removes what a restarted peer did not announce again. Returns how many. */
  sweepStale(source: Source): number {
    let swept = 0;
    for (let id = 0; id < this.#paths.length; id++) {
      if (!this.#paths[id]?.some((p) => p.source === source && p.stale)) continue;
      this.remove(source, id);
      swept++;
    }
    return swept;
  }

  /** The same routes under another source object (a session that came back), so that stale ones find their owner. */
  rename(from: Source, to: Source): void {
    for (const [id, paths] of this.#paths.entries()) {
      const at = paths?.findIndex((p) => p.source === from) ?? -1;
      const path = paths?.[at];
      if (!paths || !path) continue;
      this.#count(from, path, -1);
      this.#count(to, path, 1);
      paths[at] = { ...path, source: to };
      this.#dirty.add(id);
    }
  }

  /** The cost function answers otherwise now (a link went, a route came): decide again on everything. */
  costsChanged(): void {
    for (let id = 0; id < this.#paths.length; id++) if (this.#paths[id]?.length) this.#dirty.add(id);
  }

  /** Runs the decision process on what changed since the last call; yields each prefix with another outcome. */
  *decide(): Generator<Change> {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    for (const id of dirty) {
      const before = this.#best[id];
      const equalBefore = this.#equal.get(id);
      const { best, equal } = decide(this.#paths[id] ?? [], this.#cost);
      this.#best[id] = best;
      if (equal.length > 1) this.#equal.set(id, equal);
      else this.#equal.delete(id);
      if (before !== best) this.#countBest(before, best);
      if (before !== best || !sameSet(equalBefore ?? [], equal.length > 1 ? equal : []))
        yield { id, best, bestChanged: before !== best };
    }
  }

  best(id: number): Path | undefined {
    return this.#best[id];
  }

  /** The best path and its equals, for ECMP; empty when there is no route. */
  equal(id: number): readonly Path[] {
    const best = this.#best[id];
    return this.#equal.get(id) ?? (best ? [best] : []);
  }

  /** All paths of a prefix, refused ones too. */
  paths(id: number): readonly Path[] {
    return this.#paths[id] ?? [];
  }

  /** Every prefix that has a path. */
  *entries(): Generator<{ id: number; prefix: Prefix; paths: readonly Path[]; best?: Path }> {
    for (const [id, paths] of this.#paths.entries())
      if (paths?.length) yield { id, prefix: this.prefixes.prefix(id), paths, best: this.#best[id] };
  }

  counts(source: Source): Counts {
    return this.#counts.get(source) ?? { received: 0, accepted: 0, best: 0 };
  }

  *#of(source: Source): Generator<Path> {
    for (const paths of this.#paths) for (const path of paths ?? []) if (path.source === source) yield path;
  }

  #count(source: Source, path: Path | undefined, by: 1 | -1): void {
    if (!path) return;
    const counts = this.#countsOf(source);
    counts.received += by;
    if (path.attributes) counts.accepted += by;
  }

  #countBest(before: Path | undefined, after: Path | undefined): void {
    if (before) this.#countsOf(before.source).best--;
    if (after) this.#countsOf(after.source).best++;
  }

  #countsOf(source: Source) {
    return remember(this.#counts, source, () => ({ received: 0, accepted: 0, best: 0 }));
  }
}

const sameImport = (path: Path, imported: Imported): boolean =>
  "attributes" in imported ? path.attributes === imported.attributes : path.refused === imported.refused;

const sameSet = (a: readonly Path[], b: readonly Path[]): boolean =>
  a.length === b.length && a.every((p) => b.includes(p));
