import { and, type Comparison, membership, or, type Selector, SelectorError } from "./ast.ts";
import { type Token, tokens } from "./tokens.ts";

/** Deeper nesting of "(" and "!" is refused, so that hostile text cannot exhaust the stack. */
const MAX_DEPTH = 64;
const MAX_LABEL_LENGTH = 512;

/**
 * Parses Calico's selector language (calico.md §4.3):
 *
 *     expr   := term ("||" term)*        term := factor ("&&" factor)*
 *     factor := "!" factor | "(" expr ")" | atom
 *     atom   := all() | global() | has(label) | label ==|!= string | label in|notin|not in { string, ... }
 *             | label contains|starts with|ends with string
 *
 * Empty text is all(). `global()` may only stand alone. Throws SelectorError with the position of the fault.
 */
export function parseSelector(text: string): Selector {
  const list = tokens(text);
  if (list.length === 1) return { kind: "all" };
  const [first, open, close, end] = list;
  if (first?.text === "global" && open?.text === "(" && close?.text === ")" && end?.kind === "end")
    return { kind: "global" };
  const cursor = new Cursor(text, list);
  const selector = expression(cursor, 0);
  if (cursor.peek().kind !== "end") throw cursor.expected("&&, || or the end");
  return selector;
}

/** The place reached in the tokens of one text. */
class Cursor {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(text: string, list: readonly Token[]) {
    this.#text = text;
    this.#tokens = list;
  }

  peek(): Token {
    // The list ends with an `end` token, which is never taken.
    return this.#tokens[this.#next]!;
  }

  /** Whether the next token is `text` and no string; taken if so. */
  accept(text: string): boolean {
    const token = this.peek();
    if (token.kind === "string" || token.kind === "end" || token.text !== text) return false;
    this.#next++;
    return true;
  }

  require(text: string): void {
    if (!this.accept(text)) throw this.expected(text);
  }

  take(kind: "word" | "string", what: string): string {
    const token = this.peek();
    if (token.kind !== kind) throw this.expected(what);
    this.#next++;
    return token.text;
  }

  expected(what: string): SelectorError {
    const { kind, text, position } = this.peek();
    const found = kind === "end" ? "the end" : JSON.stringify(text);
    return this.fault(position, `expected ${what}, found ${found}`);
  }

  fault(position: number, why: string): SelectorError {
    return new SelectorError(this.#text, position, why);
  }
}

function expression(cursor: Cursor, depth: number): Selector {
  const terms = [term(cursor, depth)];
  while (cursor.accept("||")) terms.push(term(cursor, depth));
  return or(terms);
}

function term(cursor: Cursor, depth: number): Selector {
  const factors = [factor(cursor, depth)];
  while (cursor.accept("&&")) factors.push(factor(cursor, depth));
  return and(factors);
}

function factor(cursor: Cursor, depth: number): Selector {
  if (depth > MAX_DEPTH) throw cursor.fault(cursor.peek().position, `nested deeper than ${MAX_DEPTH}`);
  if (cursor.accept("!")) return { kind: "not", operand: factor(cursor, depth + 1) };
  if (!cursor.accept("(")) return atom(cursor);
  const inner = expression(cursor, depth + 1);
  cursor.require(")");
  return inner;
}

function atom(cursor: Cursor): Selector {
  const { position } = cursor.peek();
  const word = label(cursor, "a label, has(label), all(), ! or (");
  if (!cursor.accept("(")) return operation(cursor, word);
  const selector = call(cursor, { word, position });
  cursor.require(")");
  return selector;
}

function call(cursor: Cursor, { word, position }: { word: string; position: number }): Selector {
  if (word === "all") return { kind: "all" };
  if (word === "has") return { kind: "has", label: label(cursor, "a label") };
  if (word === "global") throw cursor.fault(position, "global() may only stand alone");
  throw cursor.fault(position, `there is no ${word}(), only has(label), all() and global()`);
}

function label(cursor: Cursor, what: string): string {
  const { position } = cursor.peek();
  const word = cursor.take("word", what);
  if (word.length > MAX_LABEL_LENGTH)
    throw cursor.fault(position, `label of ${word.length} characters, at most ${MAX_LABEL_LENGTH}`);
  return word;
}

function operation(cursor: Cursor, label: string): Selector {
  const comparison = comparisonWord(cursor);
  if (comparison) return { kind: comparison, label, value: cursor.take("string", "a quoted string") };
  if (cursor.accept("in")) return membership("in", label, set(cursor));
  if (cursor.accept("notin")) return membership("not-in", label, set(cursor));
  if (cursor.accept("not")) {
    cursor.require("in");
    return membership("not-in", label, set(cursor));
  }
  throw cursor.expected("==, !=, in, not in, contains, starts with or ends with");
}

function comparisonWord(cursor: Cursor): Comparison | undefined {
  if (cursor.accept("==")) return "equals";
  if (cursor.accept("!=")) return "not-equals";
  if (cursor.accept("contains")) return "contains";
  if (cursor.accept("starts")) {
    cursor.require("with");
    return "starts-with";
  }
  if (cursor.accept("ends")) {
    cursor.require("with");
    return "ends-with";
  }
  return undefined;
}

function set(cursor: Cursor): string[] {
  cursor.require("{");
  const values: string[] = [];
  if (cursor.accept("}")) return values;
  do values.push(cursor.take("string", "a quoted string"));
  while (cursor.accept(","));
  cursor.require("}");
  return values;
}
