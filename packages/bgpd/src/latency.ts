/** What a turn of work came to. */
export interface Turn {
  /** Some prefix has another best path. */
  readonly changed: boolean;
  /** Changes that no decision was made on are left. */
  readonly isUndecided: boolean;
  /** Something was handed to the socket of a peer. */
  readonly told: boolean;
  /** Peers are owed something still. */
  readonly owes: boolean;
}

/** From an UPDATE of a source to the announcement of what it changed. Times are milliseconds of a clock that only goes forward (pure). */
export class Latency<S> {
  /** When the first came that was not accounted for. */
  readonly #heard = new Map<S, number>();
  #changed = false;
  #told = false;

  heard(source: S, now: () => number): void {
    if (!this.#heard.has(source)) this.#heard.set(source, now());
  }

  /** After each turn: how long it took from the UPDATE of each source; nothing as long as decisions are left, or if it changed nothing for anybody. */
  turned({ changed, isUndecided, told, owes }: Turn, now: number): readonly (readonly [S, number])[] {
    this.#changed ||= changed;
    this.#told ||= this.#changed && told;
    if (isUndecided || (this.#changed && !this.#told && owes)) return [];
    const over = this.#told ? [...this.#heard].map(([source, at]) => [source, now - at] as const) : [];
    this.#heard.clear();
    this.#changed = this.#told = false;
    return over;
  }
}
