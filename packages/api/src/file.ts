import { type Document, isNode, LineCounter, parseAllDocuments } from "yaml";
import type { RuleLines } from "./applied-from.ts";
import { ApiError } from "./errors.ts";
import { parseKubernetes } from "./kubernetes/convert.ts";
import { type Parsed, parse } from "./parse.ts";

/** One document of a file: what it is, or why it is refused. */
export type Outcome =
  | { readonly ok: true; readonly origin: string; readonly parsed: Parsed; readonly lines: RuleLines }
  | { readonly ok: false; readonly origin: string; readonly error: ApiError };

/** Reads the documents of a YAML or JSON file, for callers who want to show every fault. Empty documents are skipped. */
export function readDocuments(text: string, origin: string): Outcome[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  if (!Array.isArray(documents)) return [];
  return documents.flatMap((document) => {
    const start = document.contents?.range?.[0] ?? document.range[0];
    return outcomes(document, { file: origin, line: (offset = start) => lines.linePos(offset).line });
  });
}

/**
 * The resources of a YAML or JSON file of one or more documents or Lists. Kubernetes Namespaces and NetworkPolicies are
 * converted. Throws the ApiError of the first faulty document; its origin is "file:line".
 */
export function parseFile(text: string, origin: string): Parsed[] {
  return readDocuments(text, origin).map((outcome) => {
    if (!outcome.ok) throw outcome.error;
    return outcome.parsed;
  });
}

interface Place {
  readonly file: string;
  line(offset?: number): number;
}

function outcomes(document: Document.Parsed, place: Place): Outcome[] {
  const [fault] = document.errors;
  if (fault) return [noYaml(`${place.file}:${place.line(fault.pos[0])}`, fault.message)];
  const origin = `${place.file}:${place.line()}`;
  const read = content(document);
  if (typeof read === "string") return [noYaml(origin, read)];
  if (read.value === null || read.value === undefined) return [];
  return items(read.value).map(({ value, path }) => {
    const lineOf = (...to: readonly (string | number)[]): number | undefined => {
      const node = document.getIn([...path, ...to], true);
      return isNode(node) && node.range ? place.line(node.range[0]) : undefined;
    };
    return outcome(value, { origin, lineOf });
  });
}

/** What a document says, or why it cannot be known: an alias of nothing, or of too much (a "billion laughs" file). */
function content(document: Document.Parsed): { value: unknown } | string {
  try {
    return { value: document.toJS() };
  } catch (error) {
    if (error instanceof ReferenceError) return error.message;
    throw error;
  }
}

function noYaml(origin: string, why: string): Outcome {
  return refused(
    new ApiError({ code: "invalid", origin, issues: [{ path: "", message: `no YAML: ${why}` }] }),
    origin,
  );
}

/** The items of a v1 List or of Calico's XList; anything else is its own only item. */
function items(value: unknown): { value: unknown; path: readonly (string | number)[] }[] {
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  return typeof kind === "string" && kind.endsWith("List") && Array.isArray(items)
    ? items.map((item, i) => ({ value: item, path: ["items", i] }))
    : [{ value, path: [] }];
}

interface Located {
  readonly origin: string;
  /** The line of what stands at a path of the object. */
  readonly lineOf: (...path: readonly (string | number)[]) => number | undefined;
}

function outcome(value: unknown, { origin, lineOf }: Located): Outcome {
  try {
    const parsed = parseKubernetes(value, origin) ?? parse(value, origin);
    const lines = (direction: "ingress" | "egress") => ruleLines(value, { parsed, direction, lineOf });
    return { ok: true, origin, parsed, lines: { ingress: lines("ingress"), egress: lines("egress") } };
  } catch (error) {
    if (error instanceof ApiError) return refused(error, origin);
    throw error;
  }
}

interface Rules {
  readonly parsed: Parsed;
  readonly direction: "ingress" | "egress";
  readonly lineOf: Located["lineOf"];
}

/** The line of each of the resource's rules: a rule of Kubernetes becomes one or several. */
function ruleLines(value: unknown, { parsed, direction, lineOf }: Rules): readonly number[] {
  const [written, made] = [rulesIn(value, direction), rulesIn(parsed.resource, direction)];
  const isOneEach = written.length === made.length;
  return written.flatMap((rule, i) => {
    const count = isOneEach ? 1 : countMade(value, direction, rule);
    return Array.from({ length: count }, () => lineOf("spec", direction, i) ?? 0);
  });
}

function rulesIn(value: unknown, direction: "ingress" | "egress"): readonly unknown[] {
  const rules = (value as { spec?: Partial<Record<string, unknown>> | null }).spec?.[direction];
  return Array.isArray(rules) ? rules : [];
}

/** How many rules become of one, which is converted alone. */
function countMade(value: unknown, direction: "ingress" | "egress", rule: unknown): number {
  const { spec, ...rest } = value as { spec: object };
  const alone = parseKubernetes({ ...rest, spec: { ...spec, [direction]: [rule] } });
  return alone ? rulesIn(alone.resource, direction).length : 1;
}

const refused = (error: ApiError, origin: string): Outcome => ({ ok: false, origin, error });
