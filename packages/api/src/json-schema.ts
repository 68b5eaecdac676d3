import * as z from "zod";
import { definitions, type Kind } from "./definitions.ts";

/** The part of JSON Schema that Kubernetes' structural schemas allow, as far as resources need it. */
export interface JsonSchema {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema;
  readonly items?: JsonSchema;
  readonly "x-kubernetes-int-or-string"?: true;
  readonly "x-kubernetes-preserve-unknown-fields"?: true;
}

/**
 * What a document's spec may look like, for CRDs and the reference page. Rules between fields are not in it: `parse` checks them.
 * `settings` are the kinds merged from several objects, with the defaults that come in at the end.
 */
export function specSchema(kind: Kind, { settings = false } = {}): JsonSchema {
  const { spec, settings: merged } = definitions[kind];
  const schema = settings && merged ? merged : spec;
  return structural(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Loose);
}

/** JSON Schema as zod writes it. */
type Loose = Readonly<Record<string, unknown>>;

const KEPT = [
  "type",
  "description",
  "default",
  "enum",
  "pattern",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "required",
] as const;

function structural(given: Loose): JsonSchema {
  const alternatives = given.anyOf as readonly Loose[] | undefined;
  const out: Record<string, unknown> = {};
  for (const key of KEPT) if (given[key] !== undefined) out[key] = given[key];
  for (const key of ["minimum", "maximum"])
    if (Math.abs(Number(given[key])) < Number.MAX_SAFE_INTEGER) out[key] = given[key];
  if (given.intOrString || Array.isArray(out.type)) {
    delete out.type; // a structural schema has one type or none
    return { ...out, "x-kubernetes-int-or-string": true };
  }
  if (alternatives)
    Object.assign(out, { type: numberType(alternatives), enum: alternatives.map((a) => a.const) });
  else if (given.const !== undefined) out.enum = [given.const];
  if (given.properties) out.properties = each(given.properties as Record<string, Loose>);
  if (isRecord(given)) out.additionalProperties = structural(given.additionalProperties as Loose);
  if (given.items) out.items = structural(given.items as Loose);
  if (out.type === undefined) out["x-kubernetes-preserve-unknown-fields"] = true;
  return out;
}

/** zod writes a union of literals only for numbers; everything else with `anyOf` is marked intOrString. */
const numberType = (alternatives: readonly Loose[]) =>
  alternatives.every((a) => Number.isInteger(a.const)) ? "integer" : "number";

const each = (properties: Readonly<Record<string, Loose>>): Record<string, JsonSchema> =>
  Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, structural(property)]));

const isRecord = ({ properties, additionalProperties }: Loose): boolean =>
  properties === undefined && typeof additionalProperties === "object";
