import type { z } from "zod";
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

/** Every fault of a refused document, in the schema's order, each saying what is allowed and what was found. */
export const issuesOf = (error: z.ZodError): Issue[] =>
  error.issues.map((issue) => ({ path: formatPath(issue.path), message: message(issue) }));

type ZodIssue = z.ZodError["issues"][number];

function message(issue: ZodIssue): string {
  const rule = allowed(issue);
  return rule.includes("found ") || "input" in issue === false
    ? rule
    : `${rule}, found ${found(issue.input)}`;
}

function allowed(issue: ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined
        ? `is required: ${article(issue.expected)}`
        : `must be ${article(issue.expected)}`;
    case "invalid_value":
      return `must be ${issue.values.length > 1 ? "one of " : ""}${issue.values.map(String).join(", ")}`;
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

/** The value itself, if short. */
function found(input: unknown): string {
  if (input === undefined) return "nothing";
  const text = JSON.stringify(input) ?? String(input);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
