import type { Selector } from "./ast.ts";

/** What a label must be for a selector to match: one of `values`, or merely present when there are none given. */
export interface Restriction {
  readonly label: string;
  readonly values?: readonly string[];
}

/**
 * The most selective label that everything `selector` matches must bear, for indexing: only endpoints that meet it need
 * to be evaluated. Undefined when there is none (`all()`, `!has(x)`, ...). No values at all means nothing can match.
 */
export function requiredLabel(selector: Selector): Restriction | undefined {
  switch (selector.kind) {
    case "equals":
      return { label: selector.label, values: [selector.value] };
    case "in":
      return { label: selector.label, values: selector.values };
    case "has":
    case "contains":
    case "starts-with":
    case "ends-with":
      return { label: selector.label };
    case "and":
      return selector.operands.map(requiredLabel).reduce(narrower, undefined);
    case "or":
      return union(selector.operands.map(requiredLabel));
    default:
      return undefined;
  }
}

const narrower = (a: Restriction | undefined, b: Restriction | undefined): Restriction | undefined =>
  breadth(b) < breadth(a) ? b : a;

/** Fewer values first, then any value of a label, then no restriction. */
function breadth(restriction: Restriction | undefined): number {
  if (!restriction) return Number.POSITIVE_INFINITY;
  return restriction.values?.length ?? Number.MAX_SAFE_INTEGER;
}

/** An alternative restricts only if every branch names the same label. */
function union(branches: readonly (Restriction | undefined)[]): Restriction | undefined {
  const [first] = branches;
  if (!first || !branches.every((branch) => branch?.label === first.label)) return undefined;
  if (branches.some((branch) => !branch?.values)) return { label: first.label };
  return {
    label: first.label,
    values: [...new Set(branches.flatMap((branch) => branch?.values ?? []))].sort(),
  };
}
