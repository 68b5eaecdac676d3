import type { Address } from "./address.ts";
import { type Prefix, prefixOf } from "./prefix.ts";

interface Node<V> {
  zero?: Node<V>;
  one?: Node<V>;
  entry?: { prefix: Prefix; value: V };
}

/** Longest-prefix-match table over both families: a binary trie, one level a bit. */
export class Lpm<V> {
  readonly #roots: Record<4 | 6, Node<V>> = { 4: {}, 6: {} };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  set(prefix: Prefix, value: V): void {
    let node = this.#roots[prefix.family];
    for (let depth = 0; depth < prefix.length; depth++) {
      const side = bitAt(prefix, depth) ? "one" : "zero";
      node[side] ??= {};
      node = node[side];
    }
    if (!node.entry) this.#size++;
    node.entry = { prefix, value };
  }

  get(prefix: Prefix): V | undefined {
    return this.#path(prefix)?.at(-1)?.entry?.value;
  }

  delete(prefix: Prefix): boolean {
    const path = this.#path(prefix);
    const last = path?.at(-1);
    if (!path || !last?.entry) return false;
    delete last.entry;
    this.#size--;
    prune(path);
    return true;
  }

  /** The most specific entry that contains the whole of `target`. */
  match(target: Address | Prefix): { prefix: Prefix; value: V } | undefined {
    const wanted = "length" in target ? target : prefixOf(target, target.family === 4 ? 32 : 128);
    let node: Node<V> | undefined = this.#roots[wanted.family];
    let best = node.entry;
    for (let depth = 0; node && depth < wanted.length; depth++) {
      node = bitAt(wanted, depth) ? node.one : node.zero;
      if (node?.entry) best = node.entry;
    }
    return best;
  }

  *entries(): Generator<{ prefix: Prefix; value: V }> {
    for (const family of [4, 6] as const) yield* walk(this.#roots[family]);
  }

  /** Nodes from the root to the prefix's own node, if that node exists. */
  #path(prefix: Prefix): Node<V>[] | undefined {
    const path = [this.#roots[prefix.family]];
    for (let depth = 0; depth < prefix.length; depth++) {
      const here: Node<V> | undefined = path[depth];
      const next = bitAt(prefix, depth) ? here?.one : here?.zero;
      if (!next) return undefined;
      path.push(next);
    }
    return path;
  }
}

const bitAt = (p: Prefix, depth: number): boolean =>
  ((p.bits >> BigInt((p.family === 4 ? 31 : 127) - depth)) & 1n) === 1n;

/** Removes the empty tail of a path, leaf upward. */
function prune<V>(path: readonly Node<V>[]): void {
  for (let i = path.length - 1; i > 0; i--) {
    const node = path[i];
    const parent = path[i - 1];
    if (!node || !parent || node.entry || node.zero || node.one) return;
    if (parent.zero === node) delete parent.zero;
    else delete parent.one;
  }
}

function* walk<V>(node: Node<V>): Generator<{ prefix: Prefix; value: V }> {
  if (node.entry) yield node.entry;
  if (node.zero) yield* walk(node.zero);
  if (node.one) yield* walk(node.one);
}
