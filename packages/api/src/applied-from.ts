/** The annotation by which `margay apply` says where a policy or profile was read. */
export const APPLIED_FROM = "margay.dev/applied-from";

/** Lines of a policy's rules in its file, in the policy's order; empty where they are not known. */
export interface RuleLines {
  readonly ingress: readonly number[];
  readonly egress: readonly number[];
}

/** A place in a file, 1 being the first line. */
export interface AppliedFrom extends RuleLines {
  /** As whoever applied it called it. */
  readonly file: string;
  readonly line: number;
}

const DIRECTIONS = ["ingress", "egress"] as const;

/** `web.yaml:3 ingress 12,15 egress 20`. */
export function formatAppliedFrom(origin: string, lines: RuleLines): string {
  const listed = DIRECTIONS.flatMap((direction) =>
    lines[direction].length > 0 ? [`${direction} ${lines[direction].join()}`] : [],
  );
  return [origin, ...listed].join(" ");
}

/** Undefined: no text of `formatAppliedFrom`. */
export function parseAppliedFrom(text: string): AppliedFrom | undefined {
  const [, file, line, ingress, egress] =
    /^(.+):(\d+)(?: ingress ([\d,]+))?(?: egress ([\d,]+))?$/s.exec(text) ?? [];
  if (file === undefined) return undefined;
  const numbers = (list: string | undefined) => list?.split(",").map(Number) ?? [];
  return { file, line: Number(line), ingress: numbers(ingress), egress: numbers(egress) };
}
