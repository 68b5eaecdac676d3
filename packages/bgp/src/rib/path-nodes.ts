import { grown } from "./prefix-table.ts";

/** The end of a list. */
export const end = -1;

/** One path each of prefixes with several, in columns, linked in the order in which they came. */
export class PathNodes {
  /** Route numbers. */
  route = new Int32Array(64);
  next = new Int32Array(64);
  /** Path identifiers as received (RFC 7911 §3); 0 where the session has none. */
  receivedId = new Uint32Array(64);
  /** And as sent: the lowest from 1 on that no other path of the prefix has. */
  sentId = new Uint32Array(64);
  /** Equal to the best path up to step 8, and not the only one. */
  isEqual = new Uint8Array(64);
  #used = 0;
  #free = end;

  /** A node in front of `next`. */
  add(route: number, receivedId: number, sentId: number, next: number): number {
    const node = this.#free === end ? this.#used++ : this.#free;
    if (node >= this.route.length) this.#grow();
    if (node === this.#free) this.#free = this.next[node]!; // linked
    this.route[node] = route;
    this.next[node] = next;
    this.receivedId[node] = receivedId;
    this.sentId[node] = sentId;
    this.isEqual[node] = 0;
    return node;
  }

  free(node: number): void {
    this.next[node] = this.#free;
    this.#free = node;
  }

  /** The lowest path identifier that no path of the list has. */
  unusedId(first: number): number {
    for (let id = 1; ; id++) {
      let node = first;
      while (node !== end && this.sentId[node] !== id) node = this.next[node]!; // linked
      if (node === end) return id;
    }
  }

  #grow(): void {
    this.route = grown(this.route, (n) => new Int32Array(n));
    this.next = grown(this.next, (n) => new Int32Array(n));
    this.receivedId = grown(this.receivedId, (n) => new Uint32Array(n));
    this.sentId = grown(this.sentId, (n) => new Uint32Array(n));
    this.isEqual = grown(this.isEqual, (n) => new Uint8Array(n));
  }
}
