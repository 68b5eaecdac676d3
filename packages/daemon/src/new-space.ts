import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { collector } from "./collect.ts";

/** Of its two halves together: each holds what several parts of a first list leave behind, so that nearly all of it is dead when one is full. */
const ENOUGH_BYTES = 32 << 20;

/**
 * Keeps the space for new objects from growing to the 128 MB of V8's own choice while a large cluster is read, of which little lives.
 * Asked between the parts of the list, since V8 takes no bound while it runs.
 */
export class NewSpaceBound {
  #isHeld = false;

  /** From here on the space grows no further, if it is large enough. */
  look(): void {
    if (this.#isHeld || newSpaceBytes() < ENOUGH_BYTES) return;
    this.#isHeld = true;
    setFlagsFromString("--semi-space-growth-factor=1");
  }

  /** It may grow again, by V8's own factor. */
  end(): void {
    if (this.#isHeld) setFlagsFromString("--semi-space-growth-factor=2");
    this.#isHeld = false;
  }
}

/** V8's factor of growth is a power of two: from the 1 MB of each half that a process starts with. */
const FACTOR = 8;
/** It grows when much of what is new outlives a collection; once is the rule. */
const TRIES_AT_MOST = 20;

/**
 * Gives the space for new objects its size at once, and for ever: 8 MB in each half, where the process began with `--semi-space-growth-factor=1`.
 * V8's own choice depends on what start-up happened to keep, and was 16 MB, of which a router has no use. Some 15 ms.
 */
export function settleNewSpace(): void {
  const collect = collector();
  const before = newSpaceBytes();
  setFlagsFromString(`--semi-space-growth-factor=${FACTOR}`);
  for (let tries = 0; tries < TRIES_AT_MOST && newSpaceBytes() < FACTOR * before; tries++) {
    const alive = Array.from({ length: 60_000 }, (_, i) => ({ i, list: [i] }));
    collect({ type: "minor" });
    alive.length = 0;
  }
  setFlagsFromString("--semi-space-growth-factor=1");
}

const newSpaceBytes = (): number =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_size ?? 0;
