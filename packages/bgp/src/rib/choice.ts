/** The decision process of `decision.ts` over columns of numbers: the same outcome, no object per candidate. */
import { compareAddress } from "@margay/net";
import type { RouteNumbers } from "./route-numbers.ts";

export class Choice {
  readonly #routes: RouteNumbers;
  /** Candidates: route numbers, with the place that each came from. Those that lose leave; the order stays. */
  #routeOf = new Int32Array(16);
  #placeOf = new Int32Array(16);
  #count = 0;
  /** Places of those that were equal up to step 8, when they were several. */
  readonly equal: number[] = [];

  constructor(routes: RouteNumbers) {
    this.#routes = routes;
  }

  /** Forgets the candidates of before. */
  begin(): void {
    this.#count = 0;
    this.equal.length = 0;
  }

  /** One more candidate, which must be usable. */
  add(route: number, place: number): void {
    if (this.#count === this.#routeOf.length) this.#grow();
    this.#routeOf[this.#count] = route;
    this.#placeOf[this.#count++] = place;
  }

  /** The place of the best candidate, or -1 when there is none. Fills `equal`. */
  best(): number {
    if (this.#count === 0) return -1;
    const { keys } = this.#routes;
    if (this.#count > 1) this.#keepLowest(keys.rank);
    if (this.#count > 1) this.#keepLowestMed();
    if (this.#count > 1) this.#keepLowest(keys.isInternal);
    if (this.#count > 1) this.#keepLowestCost();
    if (this.#count > 1) {
      for (let i = 0; i < this.#count; i++) this.equal.push(this.#placeOf[i]!); // in range
      this.#keepLowest(keys.identifier);
      this.#keepLowest(keys.clusters);
      this.#keepLowestAddress();
    }
    return this.#placeOf[0]!; // of several at least one is left
  }

  #keep(i: number, at: number): void {
    this.#routeOf[at] = this.#routeOf[i]!; // in range
    this.#placeOf[at] = this.#placeOf[i]!;
  }

  #keepLowest(rank: { readonly [n: number]: number }): void {
    let least = Number.POSITIVE_INFINITY;
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const value = rank[this.#routeOf[i]!]!; // in range
      if (value > least) continue;
      if (value < least) kept = 0;
      least = value;
      this.#keep(i, kept++);
    }
    this.#count = kept;
  }

  /** RFC 4271 §9.1.2.2 c: beaten by a lower MED from the same neighbouring AS, whoever that one is beaten by. */
  #keepLowestMed(): void {
    const { med, neighbourAs } = this.#routes.keys;
    const all = this.#routeOf.slice(0, this.#count);
    let kept = 0;
    for (let i = 0; i < all.length; i++) {
      const mine = all[i]!; // in range
      const isBeaten = all.some((o) => med[o]! < med[mine]! && neighbourAs[o] === neighbourAs[mine]);
      if (!isBeaten) this.#keep(i, kept++);
    }
    this.#count = kept;
  }

  #keepLowestCost(): void {
    let least = Number.POSITIVE_INFINITY;
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const cost = this.#routes.cost(this.#routeOf[i]!); // in range
      if (cost > least) continue;
      if (cost < least) kept = 0;
      least = cost;
      this.#keep(i, kept++);
    }
    this.#count = kept;
  }

  #keepLowestAddress(): void {
    const addressOf = (i: number) => this.#routes.accounts[this.#routeOf[i]!]!.source.address; // in range
    let least = 0;
    for (let i = 1; i < this.#count; i++) if (compareAddress(addressOf(i), addressOf(least)) < 0) least = i;
    this.#keep(least, 0);
    this.#count = 1;
  }

  #grow(): void {
    const [routes, places] = [this.#routeOf, this.#placeOf];
    this.#routeOf = new Int32Array(routes.length * 2);
    this.#placeOf = new Int32Array(places.length * 2);
    this.#routeOf.set(routes);
    this.#placeOf.set(places);
  }
}
