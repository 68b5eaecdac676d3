import type * as z from "zod";
import { type AnyDefinition, type AnyResource, definitionOf, kinds } from "./definitions.ts";
import { ApiError, type Issue } from "./errors.ts";
import { formatPath, issuesOf } from "./issues.ts";
import { API_VERSION } from "./resource.ts";

/** Accepted for ours: same kinds, same fields. */
const CALICO_API_VERSION = "projectcalico.org/v3";

export interface Parsed {
  readonly resource: AnyResource;
  /** Fields that Margay does not know or heed, one text each. They are stored, but have no effect. */
  readonly warnings: string[];
}

/**
 * Validates a document, fills in defaults and normalises its apiVersion. `origin` says where it came from, for messages.
 * Throws ApiError `unknown-kind`, or `invalid` with every fault found.
 */
export function parse(document: unknown, origin?: string): Parsed {
  const given = withoutNulls(document);
  const definition = definitionFor(given, origin);
  const refuse = (issues: readonly Issue[]) => {
    const name = nameIn(given);
    return new ApiError({
      code: "invalid",
      kind: definition.kind,
      issues,
      ...(origin && { origin }),
      ...(name && { name }),
    });
  };
  const whole = { ...(given as object), apiVersion: API_VERSION, kind: definition.kind };
  const parsed = check(definition, whole, refuse);
  const outdated = definition.outdated?.(parsed.resource.spec as never) ?? [];
  if (outdated.length > 0) throw refuse(outdated);
  return parsed;
}

/** Validates against one definition; `refuse` makes the error. Unknown fields stay in the resource. */
export function check(
  definition: AnyDefinition,
  document: object,
  refuse: (issues: Issue[]) => Error,
): Parsed {
  const { value, unknown } = validate(definition.schema, document, refuse);
  // The schema is that of one of the kinds.
  const resource = value as AnyResource;
  const given = (document as { spec?: object }).spec ?? {};
  const idle = Object.entries(definition.idle?.(resource.spec as never) ?? {});
  return {
    resource,
    warnings: [
      ...unknown.map((path) => `${path}: unknown field, kept but without effect`),
      ...idle
        .filter(([field]) => Object.hasOwn(given, field))
        .map(([field, why]) => `spec.${field}: kept but without effect: ${why}`),
    ],
  };
}

/** What `schema` makes of `document`, with the fields it does not know kept, and their paths. */
export function validate<T>(
  schema: z.ZodType<T>,
  document: object,
  refuse: (issues: Issue[]) => Error,
): { value: T; unknown: string[] } {
  const result = schema.safeParse(document);
  if (!result.success) throw refuse(issuesOf(result.error, document));
  if (isAllKnown(document, result.data)) return { value: result.data, unknown: [] };
  const unknown: string[] = [];
  return { value: keepUnknown(document, result.data, { path: [], unknown }) as T, unknown };
}

function definitionFor(document: unknown, origin: string | undefined): AnyDefinition {
  const { apiVersion, kind } = (document ?? {}) as { apiVersion?: unknown; kind?: unknown };
  const where = origin === undefined ? {} : { origin };
  const called = typeof kind === "string" ? { kind } : {};
  if (!isObject(document))
    throw new ApiError({
      code: "invalid",
      ...where,
      issues: [{ path: "", message: "must be an object with apiVersion, kind, metadata and spec" }],
    });
  if (apiVersion !== API_VERSION && apiVersion !== CALICO_API_VERSION) {
    const message = `must be ${API_VERSION} or ${CALICO_API_VERSION}, found ${JSON.stringify(apiVersion) ?? "nothing"}`;
    throw new ApiError({
      code: "unknown-kind",
      ...where,
      ...called,
      issues: [{ path: "apiVersion", message }],
    });
  }
  const definition = typeof kind === "string" ? definitionOf(kind) : undefined;
  // Aliases are for the command line; a document names its kind exactly.
  if (definition && definition.kind === kind) return definition;
  const message = `must be one of ${kinds.join(", ")}, found ${JSON.stringify(kind) ?? "nothing"}`;
  throw new ApiError({
    code: "unknown-kind",
    ...where,
    ...called,
    issues: [{ path: "kind", message }],
  });
}

/** `metadata.name`, if it is text. */
export function nameIn(document: unknown): string | undefined {
  const name = (document as { metadata?: { name?: unknown } | null } | undefined)?.metadata?.name;
  return typeof name === "string" ? name : undefined;
}

/** `null` means absent, as in Kubernetes: its serialisers write `creationTimestamp: null`. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([k, v]) => (v === null || v === undefined ? [] : [[k, withoutNulls(v)]])),
  );
}

/**
 * Whether `known` has every field of `given`. Schemas change scalars and add fields but never rename or reorder, so
 * whatever is missing at the same place is unknown to the schema.
 */
function isAllKnown(given: unknown, known: unknown): boolean {
  if (Array.isArray(given) && Array.isArray(known))
    return known.every((item, i) => isAllKnown(given[i], item));
  if (!isObject(given) || !isObject(known)) return true;
  for (const key of Object.keys(given))
    if (!Object.hasOwn(known, key) || !isAllKnown(given[key], known[key])) return false;
  return true;
}

/** `known` plus the fields of `given` that the schema dropped, whose paths go to `unknown`. */
function keepUnknown(
  given: unknown,
  known: unknown,
  found: { path: readonly (string | number)[]; unknown: string[] },
): unknown {
  const at = (key: string | number) => ({ path: [...found.path, key], unknown: found.unknown });
  if (Array.isArray(given) && Array.isArray(known))
    return known.map((item, i) => keepUnknown(given[i], item, at(i)));
  if (!isObject(given) || !isObject(known)) return known;
  const dropped = Object.entries(given).filter(([key]) => !Object.hasOwn(known, key));
  found.unknown.push(...dropped.map(([key]) => formatPath([...found.path, key])));
  const kept = Object.entries(known).map(([key, value]): [string, unknown] =>
    Object.hasOwn(given, key) ? [key, keepUnknown(given[key], value, at(key))] : [key, value],
  );
  return Object.fromEntries([...kept, ...dropped]);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
