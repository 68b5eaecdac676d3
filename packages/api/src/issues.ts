import type * as z from "zod";
import type { Issue } from "./errors.ts";

/** `["spec", "ingress", 0, "ports"]` as `spec.ingress[0].ports`; a name that is no word is quoted in brackets. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) => {
      if (/^\d+$/.test(String(part))) return `[${String(part)}]`;
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(String(part))) return `[${JSON.stringify(String(part))}]`;
      return i === 0 ? String(part) : `.${String(part)}`;
    })
    .join("");
}

/** Every fault that `error` finds in `document`, in the schema's order, each saying what is allowed and what was found. */
export const issuesOf = (error: z.ZodError, document: unknown): Issue[] =>
  error.issues.map((issue) => {
    const rule = allowed(issue, at(document, issue.path) === undefined);
    const found = rule.includes("found ") ? undefined : shown(at(document, issue.path));
    return { path: formatPath(issue.path), message: found === undefined ? rule : `${rule}, found ${found}` };
  });

type ZodIssue = z.ZodError["issues"][number];

/** The value at `path`, undefined when there is none. */
const at = (document: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | null | undefined)?.[key],
    document,
  );

function allowed(issue: ZodIssue, absent: boolean): string {
  const must = absent ? "is required:" : "must be";
  switch (issue.code) {
    case "invalid_type":
      return `${must} ${article(issue.expected)}`;
    case "invalid_value":
      return `${must} ${issue.values.length > 1 ? "one of " : ""}${issue.values.map(String).join(", ")}`;
    case "too_big":
      return `must be at most ${issue.maximum}${unit(issue.origin)}`;
    case "too_small":
      return `must be at least ${issue.minimum}${unit(issue.origin)}`;
    case "invalid_key":
      return issue.issues[0] ? `name ${issue.issues[0].message}` : issue.message;
    default:
      return issue.message;
  }
}

const WORDS: Readonly<Record<string, string>> = {
  string: "text",
  int: "a whole number",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  record: "an object",
  object: "an object",
};

const article = (expected: string): string => WORDS[expected] ?? expected;

const unit = (origin: string): string =>
  origin === "string" ? " characters long" : origin === "array" ? " items long" : "";

/** The value itself, when it is short enough to help. */
function shown(value: unknown): string | undefined {
  const text = JSON.stringify(value);
  return text !== undefined && text.length <= 80 ? text : undefined;
}
