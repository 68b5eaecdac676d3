import { grown } from "./prefix-table.ts";

/** A list of entries 1, 2, ... in the order of their last change; 0 is both ends. */
export class Journal {
  #next = new Int32Array(1024);
  #prev = new Int32Array(1024);
  /** When each entry changed last; 0: never. */
  #changed = new Float64Array(1024);
  /** Time: one tick for each change. */
  clock = 0;

  get last(): number {
    return this.#prev[0]!; // always there
  }

  /** The entry that changed next after this one, or 0. */
  after(entry: number): number {
    return this.#next[entry]!; // a linked entry
  }

  changedAt(entry: number): number {
    return this.#changed[entry] ?? 0;
  }

  /** The entry has changed. Answers with the one that was before it, or -1 if it is new: who stood on it steps back there. */
  touch(entry: number): number {
    if (entry >= this.#next.length) this.#grow(entry);
    const isNew = this.#changed[entry] === 0;
    const before = isNew ? -1 : this.#prev[entry]!; // linked
    if (!isNew) {
      const after = this.#next[entry]!;
      this.#next[before] = after;
      this.#prev[after] = before;
    }
    const last = this.#prev[0]!;
    this.#next[last] = entry;
    this.#prev[entry] = last;
    this.#next[entry] = 0;
    this.#prev[0] = entry;
    this.#changed[entry] = ++this.clock;
    return before;
  }

  #grow(entry: number): void {
    while (entry >= this.#next.length) {
      this.#next = grown(this.#next, (n) => new Int32Array(n));
      this.#prev = grown(this.#prev, (n) => new Int32Array(n));
      this.#changed = grown(this.#changed, (n) => new Float64Array(n));
    }
  }
}
