/** One update group and how far export policy has judged the table for it: a slice in each turn. */
import type { Rib, Source, UpdateGroup } from "@margay/bgp";
import type { Family } from "@margay/net";

export interface AdjRibOutOptions {
  readonly family: Family;
  readonly rib: Rib;
  readonly group: UpdateGroup;
  /** A filter of its members looks at the interface that a route leads to. */
  readonly asksDevice: boolean;
}

export class AdjRibOut {
  readonly family: Family;
  readonly group: UpdateGroup;
  readonly asksDevice: boolean;
  /** Who becomes a member once all was judged: before that it would be told that routes are gone which are not. */
  readonly waiting = new Set<Source>();
  readonly #rib: Rib;
  /** Going round: the prefix whose turn is next, how many are left, and how many there were when that was asked for. */
  #next = 0;
  #left = 0;
  #size = 0;
  /** Of the first round. */
  #unseen: number;

  constructor({ family, rib, group, asksDevice }: AdjRibOutOptions) {
    this.family = family;
    this.group = group;
    this.asksDevice = asksDevice;
    this.#rib = rib;
    this.judgeAll();
    this.#unseen = this.#left;
  }

  /** Policy answers otherwise: every prefix is looked at once more, from where the last round has come. */
  judgeAll(): void {
    this.#left = this.#size = this.#rib.prefixes.size; // later ones are told as they come
  }

  /** Prefixes are left to be judged. */
  get isBehind(): boolean {
    return this.#left > 0;
  }

  /** Every prefix was judged once. */
  get isWhole(): boolean {
    return this.#unseen === 0;
  }

  judgeSome(most: number): void {
    const count = Math.min(most, this.#left);
    for (let i = 0; i < count; i++) {
      this.tell(this.#next);
      this.#next = (this.#next + 1) % this.#size;
    }
    this.#left -= count;
    this.#unseen = Math.max(0, this.#unseen - count);
  }

  /** What the group says of a prefix now: its best route, or several (RFC 7911). */
  tell(id: number): void {
    const { maxPaths } = this.group;
    if (maxPaths === undefined) this.group.put(id, this.#rib.best(id));
    else this.group.putPaths(id, this.#rib.ranked(id, maxPaths));
  }
}
