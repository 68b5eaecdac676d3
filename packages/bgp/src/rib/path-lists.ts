/** The paths of every prefix, RFC 4271 §3.2 Adj-RIBs-In: one for each source and received path identifier. */
import type { Route, Source } from "./path.ts";
import { end, PathNodes } from "./path-nodes.ts";
import { grown } from "./prefix-table.ts";
import type { RouteNumbers } from "./route-numbers.ts";
import { LearnedRoute } from "./route-store.ts";

/**
 * Most prefixes have one path, which stands in `head` itself:
 *
 *     head[prefix]:  0 no path │ n > 0: route n - 1, the only one │ n < 0: the list that begins at node -n - 1
 */
export class PathLists {
  readonly nodes = new PathNodes();
  readonly #numbers: RouteNumbers;
  readonly #onBroken: (id: number) => void;
  #head = new Int32Array(1024);

  /** `onBroken`: a path that was equal to the best one is gone or another. */
  constructor(numbers: RouteNumbers, onBroken: (id: number) => void) {
    this.#numbers = numbers;
    this.#onBroken = onBroken;
  }

  head(id: number): number {
    return this.#head[id] ?? 0;
  }

  /** The first node of the prefix's list; `end` when it has none. */
  first(id: number): number {
    const head = this.#head[id] ?? 0;
    return head < 0 ? -head - 1 : end;
  }

  /** The new path of a source and path identifier. False: it says nothing new. */
  put(id: number, number: number, pathId: number): boolean {
    if (id >= this.#head.length) this.#grow(id);
    const head = this.#head[id]!; // grown just now
    const { source } = this.#route(number);
    if (head === 0 && pathId === 0) this.#head[id] = number + 1;
    else if (head > 0 && pathId === 0 && this.#isFrom(head - 1, source)) {
      if (head - 1 === number || sameRoute(this.#route(head - 1), this.#route(number))) return false;
      this.#head[id] = number + 1;
      this.#drop(head - 1);
    } else if (!this.#putNode(id, number, pathId)) return false;
    this.#numbers.retain(number);
    this.#count(number, 1);
    return true;
  }

  /** False: the source has no such path. */
  remove(id: number, source: Source, pathId: number): boolean {
    const head = this.#head[id] ?? 0;
    if (head <= 0) return head < 0 && this.#removeNode(id, source, pathId);
    if (pathId !== 0 || !this.#isFrom(head - 1, source)) return false;
    this.#head[id] = 0;
    this.#drop(head - 1);
    return true;
  }

  /** Into the list of the prefix, which it becomes if it is none yet. False: it says nothing new. */
  #putNode(id: number, number: number, pathId: number): boolean {
    const nodes = this.nodes;
    const head = this.#head[id]!; // grown by `put`
    if (head > 0) this.#head[id] = -nodes.add(head - 1, 0, 1, end) - 1;
    const { source } = this.#route(number);
    let last = end;
    for (let node = this.first(id); node !== end; node = nodes.next[node]!) {
      last = node;
      const before = nodes.route[node]!; // linked
      if (nodes.receivedId[node] !== pathId || !this.#isFrom(before, source)) continue;
      if (before === number || sameRoute(this.#route(before), this.#route(number))) return false;
      if (nodes.isEqual[node] === 1) this.#onBroken(id);
      nodes.route[node] = number;
      nodes.isEqual[node] = 0;
      this.#drop(before);
      return true;
    }
    const node = nodes.add(number, pathId, nodes.unusedId(this.first(id)), end);
    if (last === end) this.#head[id] = -node - 1;
    else nodes.next[last] = node;
    return true;
  }

  #removeNode(id: number, source: Source, pathId: number): boolean {
    const nodes = this.nodes;
    let before = end;
    let node = this.first(id);
    while (node !== end && !(nodes.receivedId[node] === pathId && this.#isFrom(nodes.route[node]!, source))) {
      before = node;
      node = nodes.next[node]!; // linked
    }
    if (node === end) return false;
    if (nodes.isEqual[node] === 1) this.#onBroken(id);
    const next = nodes.next[node]!;
    if (before !== end) nodes.next[before] = next;
    else this.#head[id] = next === end ? 0 : -next - 1;
    this.#drop(nodes.route[node]!);
    nodes.free(node);
    this.#unlist(id);
    return true;
  }

  /** A list of one plain path is no list. */
  #unlist(id: number): void {
    const { next, receivedId, sentId, route } = this.nodes;
    const first = this.first(id);
    if (first === end || next[first] !== end || receivedId[first] !== 0 || sentId[first] !== 1) return;
    this.#head[id] = route[first]! + 1;
    this.nodes.free(first);
  }

  /** Path identifiers of all paths of a source. */
  pathIdsOf(id: number, source: Source): readonly number[] {
    const head = this.#head[id] ?? 0;
    if (head === 0) return none;
    if (head > 0) return this.#isFrom(head - 1, source) ? plainPath : none;
    const found: number[] = [];
    for (let node = -head - 1; node !== end; node = this.nodes.next[node]!)
      if (this.#isFrom(this.nodes.route[node]!, source)) found.push(this.nodes.receivedId[node]!); // linked
    return found;
  }

  /** Number of the route of one path, or -1. */
  numberOf(id: number, source: Source, pathId: number): number {
    const head = this.#head[id] ?? 0;
    if (head > 0) return this.#isFrom(head - 1, source) && pathId === 0 ? head - 1 : -1;
    const { receivedId, route, next } = this.nodes;
    for (let node = this.first(id); node !== end; node = next[node]!)
      if (receivedId[node] === pathId && this.#isFrom(route[node]!, source)) return route[node]!; // linked
    return -1;
  }

  #isFrom(number: number, source: Source): boolean {
    return this.#numbers.accounts[number]!.source === source; // numbered
  }

  #route(number: number): Route {
    return this.#numbers.routes[number]!; // numbers here are held
  }

  /** A path is gone. */
  #drop(number: number): void {
    this.#count(number, -1);
    this.#numbers.release(number);
  }

  #count(number: number, by: 1 | -1): void {
    const account = this.#numbers.accounts[number]!; // numbered
    account.received += by;
    if (this.#numbers.isAccepted(number)) account.accepted += by;
  }

  #grow(id: number): void {
    while (id >= this.#head.length) this.#head = grown(this.#head, (n) => new Int32Array(n));
  }
}

const none: readonly number[] = [];
const plainPath: readonly number[] = [0];

/** Says nothing new: another object made of the same parts. Learned ones are one object where they say the same. */
const sameRoute = (a: Route, b: Route): boolean =>
  !(a instanceof LearnedRoute || b instanceof LearnedRoute) &&
  a.received === b.received &&
  a.attributes === b.attributes &&
  a.refused === b.refused;
