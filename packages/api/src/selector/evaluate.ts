import type { Selector } from "./ast.ts";

/** Label names and values of an endpoint, set or namespace. */
export type Labels = Readonly<Record<string, string>>;

/** Present on everything that lives in a namespace. */
const NAMESPACE_LABEL = "projectcalico.org/namespace";

/** Whether `selector` matches. An absent label is not equal to, and in no set of, any value (calico.md §4.3). */
export function evaluate(selector: Selector, labels: Labels): boolean {
  switch (selector.kind) {
    case "all":
      return true;
    case "global":
      return labelIn(labels, NAMESPACE_LABEL) === undefined;
    case "not":
      return !evaluate(selector.operand, labels);
    case "and":
      return selector.operands.every((operand) => evaluate(operand, labels));
    case "or":
      return selector.operands.some((operand) => evaluate(operand, labels));
    case "has":
      return labelIn(labels, selector.label) !== undefined;
    case "equals":
      return labelIn(labels, selector.label) === selector.value;
    case "not-equals":
      return labelIn(labels, selector.label) !== selector.value;
    case "contains":
      return labelIn(labels, selector.label)?.includes(selector.value) ?? false;
    case "starts-with":
      return labelIn(labels, selector.label)?.startsWith(selector.value) ?? false;
    case "ends-with":
      return labelIn(labels, selector.label)?.endsWith(selector.value) ?? false;
    case "in":
      return isAmong(selector.values, labelIn(labels, selector.label));
    case "not-in":
      return !isAmong(selector.values, labelIn(labels, selector.label));
  }
}

/** Own properties only: a label may be called "constructor". */
const labelIn = (labels: Labels, label: string): string | undefined =>
  Object.hasOwn(labels, label) ? labels[label] : undefined;

const isAmong = (values: readonly string[], value: string | undefined): boolean =>
  value !== undefined && values.includes(value);
