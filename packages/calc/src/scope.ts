import { and, type EntityRule, parseSelector, type Selector } from "@margay/api";

/** Labels that calc itself puts on what lives in a namespace, or has a service account (calico.md §1.1). */
export const NAMESPACE = "projectcalico.org/namespace";
export const SERVICE_ACCOUNT = "projectcalico.org/serviceaccount";
/** Under which an endpoint inherits the labels of its namespace and service account. */
export const NAMESPACE_PREFIX = "pcns.";
export const SERVICE_ACCOUNT_PREFIX = "pcsa.";

/** The parts of a policy that say which endpoints it applies to. */
export interface PolicyScope {
  /** Of a namespaced policy. */
  readonly namespace?: string;
  readonly selector?: string;
  readonly namespaceSelector?: string;
  readonly serviceAccountSelector?: string;
}

/** The endpoints that a policy applies to. Throws SelectorError. */
export function policySelector(scope: PolicyScope): Selector {
  const parts = [
    scope.namespace !== undefined ? inNamespace(scope.namespace) : namespaces(scope.namespaceSelector),
    given(scope.selector) ? parseSelector(scope.selector) : undefined,
    serviceAccounts({ selector: scope.serviceAccountSelector }),
  ];
  return and(parts.filter((part) => part !== undefined));
}

/**
 * What `selector`, `namespaceSelector` and `serviceAccounts` of one side of a rule select together, if any is given.
 * In a namespaced policy they reach no further than its namespace, unless a namespaceSelector says so; the same scope
 * bounds a lone `notSelector`. Throws SelectorError.
 */
export function entitySelector(entity: EntityRule, namespace: string | undefined): Selector | undefined {
  const own = namespace !== undefined && bears(entity) ? inNamespace(namespace) : undefined;
  const parts = [
    given(entity.namespaceSelector) ? namespaces(entity.namespaceSelector) : own,
    given(entity.selector) ? parseSelector(entity.selector) : undefined,
    serviceAccounts(entity.serviceAccounts ?? {}),
  ].filter((part) => part !== undefined);
  return parts.length > 0 ? and(parts) : undefined;
}

/** What the side's `notSelector` excludes. Throws SelectorError. */
export const excludedSelector = ({ notSelector }: EntityRule): Selector | undefined =>
  given(notSelector) ? parseSelector(notSelector) : undefined;

const bears = ({ selector, notSelector, serviceAccounts }: EntityRule): boolean =>
  given(selector) || given(notSelector) || serviceAccounts !== undefined;

const given = (text: string | undefined): text is string => text !== undefined && text.trim() !== "";

const inNamespace = (namespace: string): Selector => ({ kind: "equals", label: NAMESPACE, value: namespace });

/** `all()` means every namespace, and so nothing outside of namespaces; `global()` the opposite. */
function namespaces(text: string | undefined): Selector | undefined {
  if (!given(text)) return undefined;
  const selector = parseSelector(text);
  if (selector.kind === "global") return selector;
  return and([{ kind: "has", label: NAMESPACE }, ...inherited(selector, NAMESPACE_PREFIX)]);
}

function serviceAccounts({
  names,
  selector,
}: NonNullable<EntityRule["serviceAccounts"]>): Selector | undefined {
  const parts = [
    names && names.length > 0
      ? [{ kind: "in", label: SERVICE_ACCOUNT, values: [...new Set(names)].sort() } as const]
      : [],
    given(selector)
      ? [
          { kind: "has", label: SERVICE_ACCOUNT } as const,
          ...inherited(parseSelector(selector), SERVICE_ACCOUNT_PREFIX),
        ]
      : [],
  ].flat();
  return parts.length > 0 ? and(parts) : undefined;
}

/** The selector with every label under `prefix`; nothing for all(). */
const inherited = (selector: Selector, prefix: string): readonly Selector[] =>
  selector.kind === "all" ? [] : [prefixed(selector, prefix)];

function prefixed(selector: Selector, prefix: string): Selector {
  switch (selector.kind) {
    case "all":
    case "global":
      return selector;
    case "not":
      return { kind: "not", operand: prefixed(selector.operand, prefix) };
    case "and":
    case "or":
      return { kind: selector.kind, operands: selector.operands.map((operand) => prefixed(operand, prefix)) };
    default:
      return { ...selector, label: prefix + selector.label };
  }
}
