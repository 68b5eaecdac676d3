import { evaluate, type Labels, type Selector } from "@margay/api";
import { NAMESPACE, NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX } from "./scope.ts";
import type { Among } from "./set-spec.ts";

/**
 * Something that is there and cannot be read. It stands in no set, and may belong into each whose selector does not
 * contradict what is known of it.
 */
export interface Doubt {
  /** Its datastore key, for people. */
  readonly subject: string;
  /** The sets it may belong to. */
  readonly among: Among;
  /** Labels that it bears for certain. */
  readonly known: Labels;
  /** Labels that it does not bear for certain, unless known. */
  readonly absent: readonly string[];
  /** Whether it bears no labels of namespaces and service accounts but the known ones. */
  readonly inheritsNothing: boolean;
  /** Whether it may have named ports. */
  readonly hasPorts: boolean;
}

/** Whether a selector matches what is in doubt; undefined: it may or may not. Kleene's logic, atom by atom. */
export function certainty(selector: Selector, doubt: Doubt): boolean | undefined {
  switch (selector.kind) {
    case "all":
      return true;
    case "not":
      return inverse(certainty(selector.operand, doubt));
    case "and":
      return all(selector.operands.map((operand) => certainty(operand, doubt)));
    case "or":
      return inverse(all(selector.operands.map((operand) => inverse(certainty(operand, doubt)))));
    case "global":
      return isKnown(NAMESPACE, doubt) ? evaluate(selector, doubt.known) : undefined;
    default:
      return isKnown(selector.label, doubt) ? evaluate(selector, doubt.known) : undefined;
  }
}

/** Whether it is known that the label is there, with its value, or that it is not. */
const isKnown = (label: string, { known, absent, inheritsNothing }: Doubt): boolean =>
  Object.hasOwn(known, label) ||
  absent.includes(label) ||
  (inheritsNothing && (label.startsWith(NAMESPACE_PREFIX) || label.startsWith(SERVICE_ACCOUNT_PREFIX)));

const inverse = (value: boolean | undefined): boolean | undefined =>
  value === undefined ? undefined : !value;

function all(values: readonly (boolean | undefined)[]): boolean | undefined {
  if (values.includes(false)) return false;
  return values.includes(undefined) ? undefined : true;
}
