/**
 * A selector in normal form: no `and` directly inside an `and`, no `or` inside an `or`, none with fewer than two
 * operands; the values of `in` and `not-in` sorted and distinct. The constructors below keep it so.
 */
export type Selector =
  | { readonly kind: "all" }
  | { readonly kind: "global" }
  | { readonly kind: "not"; readonly operand: Selector }
  | { readonly kind: "and" | "or"; readonly operands: readonly Selector[] }
  | { readonly kind: "has"; readonly label: string }
  | { readonly kind: Comparison; readonly label: string; readonly value: string }
  | { readonly kind: "in" | "not-in"; readonly label: string; readonly values: readonly string[] };

export type Comparison = "equals" | "not-equals" | "contains" | "starts-with" | "ends-with";

/** Text that is no selector. `position` is the index of the offending character, 0 for the first. */
export class SelectorError extends Error {
  readonly code = "invalid-selector";
  readonly text: string;
  readonly position: number;
  constructor(text: string, position: number, why: string) {
    super(`selector ${JSON.stringify(text)}: at character ${position + 1}: ${why}`);
    this.text = text;
    this.position = position;
  }
}

/** The endpoint matches every operand. No operand is all(). */
export const and = (operands: readonly Selector[]): Selector => combine("and", operands);

/** The endpoint matches at least one operand. No operand is !all(). */
export const or = (operands: readonly Selector[]): Selector => combine("or", operands);

function combine(kind: "and" | "or", operands: readonly Selector[]): Selector {
  const flat = operands.flatMap((operand) => (operand.kind === kind ? operand.operands : [operand]));
  const [first] = flat;
  if (first === undefined)
    return kind === "and" ? { kind: "all" } : { kind: "not", operand: { kind: "all" } };
  return flat.length === 1 ? first : { kind, operands: flat };
}

/** `label in {values}` or `label not in {values}`. */
export const membership = (kind: "in" | "not-in", label: string, values: readonly string[]): Selector => ({
  kind,
  label,
  values: [...new Set(values)].sort(),
});
