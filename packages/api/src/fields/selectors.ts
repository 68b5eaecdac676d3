import { SelectorError } from "../selector/ast.ts";
import { parseSelector } from "../selector/parse.ts";
import { text } from "./text.ts";

/** Calico allows 1024; a selector of Kubernetes may list a few hundred values, and must not fail to convert. */
const MAX_LENGTH = 16_384;

const selectorFault = (value: string): string | undefined => {
  if (value.length > MAX_LENGTH) return `must be at most ${MAX_LENGTH} characters`;
  try {
    parseSelector(value);
    return undefined;
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error;
    return error.message;
  }
};

/** A selector over the labels of namespaces; here, and only here, `global()` makes sense. */
export const namespaceSelector = text(selectorFault);

/** A selector over the labels of endpoints, sets or nodes (calico.md §4.3). */
export const selector = text(
  (value) =>
    selectorFault(value) ??
    (parseSelector(value).kind === "global" ? "global() is allowed in a namespaceSelector only" : undefined),
);
