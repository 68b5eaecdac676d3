import { type AsPath, isConfederation } from "../wire/as-path.ts";

/** A text that is no AS path pattern; the message says which part. */
export class AsPathPatternError extends Error {
  readonly code = "as-path-pattern";
}

/**
 * A pattern over whole AS numbers, not characters, in linear time whatever a peer sends:
 *
 *     65000          somewhere in the path         ^65000          from AS 65000
 *     ^65000 .+ 1$   from 65000, made by 1         ^$              our own routes
 *     64512-65534    a range                       65000|65001     either
 *     .? 1* 2+       at most one, any number, at least one
 */
export interface AsPathPattern {
  readonly text: string;
  readonly parts: readonly Part[];
}

interface Part {
  /** Inclusive; none means any AS. */
  readonly ranges?: readonly (readonly [number, number])[];
  readonly repeat: "once" | "optional" | "any";
}

const anything: Part = { repeat: "any" };

/** Throws AsPathPatternError. */
export function parseAsPathPattern(text: string): AsPathPattern {
  const inner = text.trim().replace(/^\^/, "").replace(/\$$/, "").trim();
  const parts = inner === "" ? [] : inner.split(/\s+/).flatMap(partsOf);
  return {
    text,
    parts: [
      ...(text.trim().startsWith("^") ? [] : [anything]),
      ...parts,
      ...(text.trim().endsWith("$") ? [] : [anything]),
    ],
  };
}

function partsOf(token: string): Part[] {
  const [, atom = "", sign = ""] = /^(.*?)([?*+]?)$/.exec(token) ?? [];
  const ranges = atom === "." ? undefined : atom.split("|").map((range) => rangeOf(range, token));
  const part = (repeat: Part["repeat"]): Part => (ranges ? { ranges, repeat } : { repeat });
  switch (sign) {
    case "?":
      return [part("optional")];
    case "*":
      return [part("any")];
    case "+":
      return [part("once"), part("any")];
    default:
      return [part("once")];
  }
}

function rangeOf(text: string, token: string): readonly [number, number] {
  const [, low, high] = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(text) ?? [];
  const [from, to] = [Number(low), Number(high ?? low)];
  if (low === undefined || from > to || to > 0xffffffff)
    throw new AsPathPatternError(`"${token}" is neither an AS, a range of them, nor a dot`);
  return [from, to];
}

/** Whether the whole path fits. A set is one place that fits with any of its ASes; confederations do not count. */
export function matchesAsPath({ parts }: AsPathPattern, path: AsPath): boolean {
  let states = closed(parts, [0]);
  for (const place of placesOf(path)) {
    const next: number[] = [];
    for (const state of states) {
      const part = parts[state];
      if (!part || !fits(part, place)) continue;
      next.push(part.repeat === "any" ? state : state + 1);
    }
    states = closed(parts, next);
    if (states.size === 0) return false;
  }
  return states.has(parts.length);
}

const placesOf = (path: AsPath): (readonly number[])[] =>
  path
    .filter((s) => !isConfederation(s))
    .flatMap((s) => (s.kind === "set" ? [s.ases] : s.ases.map((as) => [as])));

const fits = ({ ranges }: Part, place: readonly number[]): boolean =>
  !ranges || ranges.some(([low, high]) => place.some((as) => as >= low && as <= high));

/** The states that are reached without reading an AS. */
function closed(parts: readonly Part[], states: readonly number[]): Set<number> {
  const all = new Set<number>();
  for (let state of states) {
    all.add(state);
    while (state < parts.length && parts[state]?.repeat !== "once") all.add(++state);
  }
  return all;
}
