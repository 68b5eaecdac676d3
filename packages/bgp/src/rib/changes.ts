import type { Route } from "./path.ts";
import type { Rib } from "./rib.ts";

/** A prefix that another decision came out for. */
export interface Change {
  readonly id: number;
  readonly best: Route | undefined;
  /** The best route is another one, or none; else its equals are others or, with `tellsAll`, any other path. */
  readonly bestChanged: boolean;
}

/** What a decision changed, until the next one. */
export class Changes implements Iterable<Change> {
  /** Prefixes whose best route is another one, or none. */
  readonly best: Readonly<Int32Array>;
  /** Prefixes whose best route is the same, and its equals are others; or, with `tellsAll`, any other path. */
  readonly others: readonly number[];
  readonly #rib: Rib;

  constructor(rib: Rib, best: Readonly<Int32Array>, others: readonly number[]) {
    this.#rib = rib;
    this.best = best;
    this.others = others;
  }

  get length(): number {
    return this.best.length + this.others.length;
  }

  /** One object each: for those who have few. */
  *[Symbol.iterator](): Generator<Change> {
    for (const id of this.best) yield { id, best: this.#rib.best(id), bestChanged: true };
    for (const id of this.others) yield { id, best: this.#rib.best(id), bestChanged: false };
  }
}
