import { SelectorError } from "./ast.ts";

/** `word` is a label or a keyword, which only its place tells apart; `end` closes the list. */
export interface Token {
  readonly kind: "word" | "string" | "symbol" | "end";
  readonly text: string;
  /** Index of its first character. */
  readonly position: number;
}

/** One token at a time: space, word, 'string', "string", symbol. A label is at most 512 characters. */
const TOKEN = /\s+|([A-Za-z0-9_./-]+)|'([^']*)'|"([^"]*)"|(==|!=|&&|\|\||[!(){},])/y;

/** Splits a selector. Throws SelectorError at the first character that begins no token. */
export function tokens(text: string): readonly Token[] {
  const out: Token[] = [];
  let position = 0;
  while (position < text.length) {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(text);
    if (!match) throw new SelectorError(text, position, unexpected(text, position));
    const [all, word, single, double, symbol] = match;
    if (word !== undefined) out.push({ kind: "word", text: word, position });
    else if (symbol !== undefined) out.push({ kind: "symbol", text: symbol, position });
    else if (single !== undefined || double !== undefined)
      out.push({ kind: "string", text: single ?? double ?? "", position });
    position += all.length;
  }
  return [...out, { kind: "end", text: "", position }];
}

function unexpected(text: string, position: number): string {
  const character = text[position];
  if (character === "'" || character === '"') return `this ${character} is not closed`;
  if (character === "=") return `found "=", expected "=="`;
  if (character === "&" || character === "|")
    return `found "${character}", expected "${character}${character}"`;
  return `unexpected ${JSON.stringify(character)}`;
}
