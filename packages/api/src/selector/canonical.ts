import { type Comparison, type Selector, SelectorError } from "./ast.ts";
import { sha256 } from "./sha256.ts";

/** The one text of a selector: `parseSelector(canonical(s))` is `s`, and equal selectors have equal text. */
export function canonical(selector: Selector): string {
  switch (selector.kind) {
    case "all":
    case "global":
      return `${selector.kind}()`;
    case "not":
      return `!${nested(selector.operand)}`;
    case "and":
      return selector.operands.map(nested).join(" && ");
    case "or":
      return selector.operands.map(nested).join(" || ");
    case "has":
      return `has(${selector.label})`;
    case "in":
    case "not-in":
      return `${selector.label} ${OPERATORS[selector.kind]} {${selector.values.map(quote).join(", ")}}`;
    default:
      return `${selector.label} ${OPERATORS[selector.kind]} ${quote(selector.value)}`;
  }
}

const OPERATORS = {
  equals: "==",
  "not-equals": "!=",
  contains: "contains",
  "starts-with": "starts with",
  "ends-with": "ends with",
  in: "in",
  "not-in": "not in",
} as const satisfies Record<Comparison | "in" | "not-in", string>;

const nested = (selector: Selector): string =>
  selector.kind === "and" || selector.kind === "or" ? `(${canonical(selector)})` : canonical(selector);

/** The language has no escapes: a string holds one kind of quote at most. */
function quote(value: string): string {
  if (!value.includes('"')) return `"${value}"`;
  if (!value.includes("'")) return `'${value}'`;
  throw new SelectorError(value, 0, "a string cannot hold both kinds of quotes");
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/**
 * A stable name for what `selector` selects: 20 letters and digits, 100 bits of the SHA-256 of the canonical text. It
 * is cryptographic because whoever may write one policy must not be able to forge the set of another.
 */
export function selectorId(selector: Selector): string {
  const hash = sha256(new TextEncoder().encode(canonical(selector)));
  let bits = 0n;
  for (const byte of hash.subarray(0, 13)) bits = (bits << 8n) | BigInt(byte);
  return Array.from({ length: 20 }, (_, i) => BASE32[Number((bits >> BigInt(99 - 5 * i)) & 31n)]).join("");
}
