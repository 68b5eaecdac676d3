import type * as z from "zod";
import { faultOf } from "./fields/text.ts";

/** What a value becomes, or FAULT: then the schema itself says what is wrong with it. */
type Step = (value: unknown) => unknown;
const FAULT = Symbol("fault");
type Fields = Record<string, unknown>;
type Schema = z.core.$ZodType;
type Check = z.core.$ZodCheck<never>;

/**
 * Reads documents that are as `schema` wants them, which is almost all, in a tenth of its time: fields that are absent are not
 * asked for, and the document itself is filled in and returned, with the fields that the schema does not know. It is for values
 * that JSON.parse made and nobody else has. Undefined: ask the schema, with the document made anew.
 *
 * Objects, lists and records are walked here; what is in them is asked of the schema's own parts, so that there is one truth.
 */
export function quickly<T>(schema: z.ZodType<T>): (document: unknown) => T | undefined {
  let step: Step | undefined;
  return (document) => {
    step ??= stepOf(schema);
    const found = step(document);
    return found === FAULT ? undefined : (found as T); // as the schema would have it
  };
}

function stepOf(schema: Schema): Step {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "object":
      return def.catchall ? leaf(schema) : checked(def.checks, object(def.shape));
    case "array":
      return checked(def.checks, list(stepOf(def.element)));
    case "record":
      return checked(def.checks, record(stepOf(def.keyType), stepOf(def.valueType)));
    case "optional":
    case "default":
    case "prefault":
      return def.checks?.length ? leaf(schema) : stepOf(def.innerType);
    case "string":
      return schema._zod.traits.has("$ZodCheck") || def.coerce ? leaf(schema) : checked(def.checks, text);
    case "unknown":
      return def.checks?.length ? leaf(schema) : (value) => value;
    default:
      return leaf(schema);
  }
}

const context = { async: false } as const;

/** What the schema says of a value that is neither an object nor a list. */
const leaf =
  ({ _zod }: Schema): Step =>
  (value) => {
    if (typeof value === "object") return FAULT; // it would come back without the fields that are not known
    const { issues, value: found } = _zod.run({ value, issues: [] }, context) as z.core.ParsePayload;
    return issues.length > 0 ? FAULT : found;
  };

const text: Step = (value) => (typeof value === "string" ? value : FAULT);

/** By what the schema asks of a value that is of its type. */
function checked(checks: readonly Check[] | undefined, step: Step): Step {
  if (!checks?.length) return step;
  const whys = checks.map(faultOf).filter((why) => why !== undefined);
  if (whys.length === checks.length)
    return (value) => {
      const found = step(value);
      return found === FAULT || whys.some((why) => why(found as string)) ? FAULT : found; // checks of `text` are of texts
    };
  return (value) => {
    const found = step(value);
    if (found === FAULT) return FAULT;
    const payload: z.core.ParsePayload = { value: found, issues: [] };
    for (const { _zod } of checks as readonly z.core.$ZodCheck<unknown>[]) // of what the value was found to be
      if (!_zod.def.when || _zod.def.when(payload)) _zod.check(payload);
    return payload.issues.length > 0 ? FAULT : payload.value;
  };
}

interface Field {
  readonly step: Step;
  readonly isRequired: boolean;
}

function object(shape: z.core.$ZodShape): Step {
  const fields = new Map<string, Field>();
  /** What fields are where they are absent. */
  const defaults: (readonly [string, Step])[] = [];
  for (const [name, schema] of Object.entries(shape)) {
    const isRequired = schema._zod.optin === undefined;
    fields.set(name, { step: stepOf(schema), isRequired });
    if (!isRequired && !isPlainOptional(schema)) defaults.push([name, leaf(schema)]);
  }
  const required = [...fields.values()].filter(({ isRequired }) => isRequired).length;
  return (value) => {
    if (!isObject(value)) return FAULT;
    let found = 0;
    for (const name in value) {
      const field = fields.get(name);
      if (!field) continue;
      if (field.isRequired) found++;
      if (!put(value, name, field.step)) return FAULT;
    }
    if (found < required) return FAULT;
    for (const [name, step] of defaults)
      if (!Object.hasOwn(value, name) && !put(value, name, step)) return FAULT;
    return value;
  };
}

const isPlainOptional = (schema: Schema): boolean => {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  return def.type === "optional" && def.innerType._zod.optin === undefined;
};

const list =
  (step: Step): Step =>
  (value) => {
    if (!Array.isArray(value)) return FAULT;
    for (let i = 0; i < value.length; i++) {
      const found = step(value[i]);
      if (found === FAULT) return FAULT;
      value[i] = found;
    }
    return value;
  };

const record =
  (key: Step, step: Step): Step =>
  (value) => {
    if (!isObject(value)) return FAULT;
    for (const name in value)
      if (name === "__proto__" || key(name) !== name || !put(value, name, step)) return FAULT;
    return value;
  };

/** False: what is there is at fault. */
function put(fields: Fields, name: string, step: Step): boolean {
  const [before, found] = [fields[name], step(fields[name])];
  if (found === FAULT) return false;
  if (found !== before) fields[name] = found;
  return true;
}

const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
