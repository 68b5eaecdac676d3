import type { Family } from "@margay/net";
import { remember } from "../remember.ts";
import { pathIdSize } from "../wire/nlri.ts";
import { longestOnWire, type NlriSource, type PrefixTable } from "./prefix-table.ts";

/** Numbers for prefixes with path identifiers (RFC 7911 §3), as `PrefixTable` has for prefixes alone. */
export class PathSlots implements NlriSource {
  readonly family: Family;
  readonly longest: number;
  readonly #prefixes: PrefixTable;
  readonly #slots = new Map<number, number[]>();
  readonly #prefixOf: number[] = [];
  readonly #pathIdOf: number[] = [];

  constructor(prefixes: PrefixTable) {
    this.#prefixes = prefixes;
    this.family = prefixes.family;
    this.longest = longestOnWire[this.family] + pathIdSize;
  }

  /** The number of a prefix (by its own number) with a path identifier, which is small. */
  slot(id: number, pathId: number): number {
    const slots = remember(this.#slots, id, () => []);
    const known = slots.find((slot) => this.#pathIdOf[slot] === pathId);
    if (known !== undefined) return known;
    const slot = this.#prefixOf.push(id) - 1;
    this.#pathIdOf.push(pathId);
    slots.push(slot);
    return slot;
  }

  /** All numbers that a prefix ever had. */
  ofPrefix(id: number): readonly number[] {
    return this.#slots.get(id) ?? [];
  }

  prefixOf(slot: number): number {
    return this.#prefixOf[slot]!; // slots come from us
  }

  write(slot: number, out: Uint8Array, start: number): number {
    const pathId = this.#pathIdOf[slot]!; // slots come from us
    for (let i = 0; i < pathIdSize; i++) out[start + i] = pathId >>> (24 - 8 * i);
    return this.#prefixes.write(this.prefixOf(slot), out, start + pathIdSize);
  }
}
