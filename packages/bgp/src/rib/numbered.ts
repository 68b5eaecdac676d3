/** Small numbers from 1 on for objects, each good while it is held. */
export class Numbered<T extends object> {
  readonly #numbers = new Map<T, number>();
  readonly #items: (T | undefined)[] = [undefined];
  readonly #refs: number[] = [0];
  readonly #free: number[] = [];
  /** The one asked for last: neighbours mostly ask for the same. */
  #last: T | undefined;
  #lastNumber = 0;

  /** The item's number, held once more; 0 for none. */
  take(item: T | undefined): number {
    if (!item) return 0;
    let number = item === this.#last ? this.#lastNumber : this.#numbers.get(item);
    if (number === undefined) {
      number = this.#free.pop() ?? this.#items.length;
      this.#items[number] = item;
      this.#refs[number] = 0;
      this.#numbers.set(item, number);
    }
    this.#last = item;
    this.#lastNumber = number;
    this.#refs[number]!++; // just made, or held
    return number;
  }

  /** Numbers below 1 stand for no item. */
  release(number: number): void {
    if (number < 1 || --this.#refs[number]! > 0) return;
    if (number === this.#lastNumber) this.#last = undefined;
    this.#numbers.delete(this.#items[number]!); // held until now
    this.#items[number] = undefined;
    this.#free.push(number);
  }

  /** 0: it has none now. */
  numberOf(item: T): number {
    return this.#numbers.get(item) ?? 0;
  }

  of(number: number): T | undefined {
    return number < 1 ? undefined : this.#items[number];
  }
}
