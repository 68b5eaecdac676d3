import type { Family } from "@margay/net";
import Table from "cli-table3";
import { pcOut as pc } from "./colours.ts";
import { type Answer, askAll, type Party, type Prober, type Protocol } from "./probe.ts";

/** Whether a connection should be possible; undefined: no opinion. */
export type Expectation = (from: string, to: string) => boolean | undefined;

export interface Cell {
  readonly from: string;
  readonly to: string;
  readonly answers: readonly { readonly family: Family; readonly answer: Answer }[];
  readonly expected?: boolean;
}

export interface Matrix {
  readonly protocol: Protocol;
  readonly port: number;
  readonly names: readonly string[];
  readonly cells: readonly Cell[];
  /** Cells whose answers are not what was expected. */
  readonly wrong: number;
}

export interface MatrixRequest {
  readonly protocol: Protocol;
  readonly port: number;
  readonly families: readonly Family[];
  readonly expected?: Expectation;
}

/** Probes every ordered pair of parties, both families at once. */
export async function probeMatrix(
  prober: Prober,
  parties: readonly Party[],
  request: MatrixRequest,
): Promise<Matrix> {
  const { protocol, port, families, expected } = request;
  const pairs = parties.flatMap((from) =>
    parties.filter((to) => to !== from).map((to) => [from, to] as const),
  );
  const questions = pairs.flatMap(([from, to]) =>
    families.map((family) => [from, to, { family, protocol, port }] as const),
  );
  const answers = await askAll(prober, questions);
  const cells = pairs.map(([from, to], pair): Cell => {
    const wanted = expected?.(from.name, to.name);
    const own = families.map((family, at) => ({ family, answer: answers[pair * families.length + at]! })); // one per question
    return { from: from.name, to: to.name, answers: own, ...(wanted !== undefined && { expected: wanted }) };
  });
  return {
    protocol,
    port,
    names: parties.map(({ name }) => name),
    cells,
    wrong: cells.filter(isWrong).length,
  };
}

/** An answer that differs from what was expected; without an expectation nothing is wrong but the pod that answers. */
export function isWrong({ answers, expected }: Cell): boolean {
  return answers.some(
    ({ answer }) => answer === "wrong pod" || (expected !== undefined && (answer === "reached") !== expected),
  );
}

/** The matrix as text: rows connect to columns. A wrong cell says what it is and what it should be. */
export function formatMatrix({ names, cells, protocol, port }: Matrix): string {
  const at = new Map(cells.map((cell) => [`${cell.from} ${cell.to}`, cell]));
  const table = new Table({
    head: [`${protocol}/${port}`, ...names],
    style: { head: [], border: [], compact: true },
  });
  for (const from of names) {
    const row = names.map((to) => {
      const cell = at.get(`${from} ${to}`);
      return { content: cell ? formatCell(cell) : pc.dim("·"), hAlign: "center" as const };
    });
    table.push([from, ...row]);
  }
  return table.toString();
}

function formatCell(cell: Cell): string {
  const reached = cell.answers.filter(({ answer }) => answer === "reached");
  const all = reached.length === cell.answers.length;
  const text = all
    ? "yes"
    : reached.length === 0
      ? "no"
      : `IPv${reached.map(({ family }) => family).join("+")} only`;
  if (isWrong(cell)) return pc.bold(pc.red(`${text} (should be ${cell.expected ? "yes" : "no"})`));
  return all ? pc.green(text) : pc.yellow(text);
}
