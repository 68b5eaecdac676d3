import Table from "cli-table3";
import pc from "picocolors";
import { stringify } from "yaml";

/** Where a command writes: results to `print`, remarks that are no result to `warn`. Both end the line. */
export interface Terminal {
  print(text: string): void;
  warn(text: string): void;
  readonly colours: ReturnType<typeof pc.createColors>;
}

/** The process's own: coloured when stdout is a terminal and NO_COLOR is not set. */
export const processTerminal: Terminal = {
  print: (text) => void process.stdout.write(text.endsWith("\n") ? text : `${text}\n`),
  warn: (text) => void process.stderr.write(text.endsWith("\n") ? text : `${text}\n`),
  colours: pc.createColors(Boolean(process.stdout.isTTY) && pc.isColorSupported),
};

export type Cell = string | number | bigint | boolean | undefined;

/** Columns as wide as their widest cell, two spaces apart, no lines: good for eyes, grep and awk alike. */
export function table(
  terminal: Terminal,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const out = new Table({
    head: head.map((title) => terminal.colours.bold(title)),
    style: PLAIN,
    chars: NO_LINES,
  });
  for (const row of rows) out.push(row.map((cell) => (cell === undefined ? "-" : String(cell))));
  return out
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

const PLAIN = { "padding-left": 0, "padding-right": 2, head: [], border: [] };

const EDGES = ["top", "bottom", "left", "right"];
const NO_LINES = Object.fromEntries(
  [
    ...EDGES,
    ...EDGES.map((edge) => `${edge}-mid`),
    "mid",
    "mid-mid",
    "middle",
    "top-left",
    "top-right",
    "bottom-left",
    "bottom-right",
  ].map((place) => [place, ""]),
);

/** Forms of an answer: a table for people, the others for programs. */
export const FORMS = ["table", "json", "yaml"] as const;
export type Form = (typeof FORMS)[number];

/** An answer for programs: numbers beyond 2^53 as text. */
export function dump(form: Exclude<Form, "table">, value: unknown): string {
  const json = JSON.stringify(
    value,
    (_, v) => (typeof v === "bigint" ? (v <= Number.MAX_SAFE_INTEGER ? Number(v) : String(v)) : v),
    2,
  );
  return form === "json" ? json : stringify(JSON.parse(json));
}
