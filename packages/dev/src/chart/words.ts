import type { JsonSchema } from "@margay/api";

/** A value of the chart; objects are closed: a name that is not there is an error, not silence. */
export type Value = Omit<JsonSchema, "additionalProperties" | "properties" | "items" | "type"> & {
  readonly type?: JsonSchema["type"] | readonly ["integer", "string"];
  readonly properties?: Readonly<Record<string, Value>>;
  readonly items?: Value;
  readonly additionalProperties?: Value | false;
};

export const text = (description: string, byDefault: string, more: Value = {}): Value => ({
  type: "string",
  description,
  default: byDefault,
  ...more,
});
export const flag = (description: string, byDefault: boolean): Value => ({
  type: "boolean",
  description,
  default: byDefault,
});
export const whole = (description: string, byDefault: number, minimum: number, maximum: number): Value => ({
  type: "integer",
  description,
  default: byDefault,
  minimum,
  maximum,
});
export const port = (description: string, byDefault: number): Value =>
  whole(description, byDefault, 1, 65535);
export const choice = (description: string, ...values: readonly [string, ...string[]]): Value => ({
  type: "string",
  description,
  default: values[0],
  enum: values,
});
export const list = (description: string, items: Value, byDefault: readonly unknown[] = []): Value => ({
  type: "array",
  description,
  items,
  default: byDefault,
});
/** Something of Kubernetes' own: the API server checks it. */
export const map = (description: string, byDefault: object = {}): Value => ({
  type: "object",
  description,
  default: byDefault,
});
/** Labels, annotations: a bare `true` or number would be refused by the API server, without the value's name. */
export const strings = (description: string, byDefault: object = {}): Value => ({
  ...map(description, byDefault),
  additionalProperties: { type: "string" },
});
/** A directory of the node, below its root. */
export const folder = (description: string, byDefault: string): Value =>
  text(description, byDefault, { pattern: "^/[^/]" });
export const group = (description: string, properties: Readonly<Record<string, Value>>): Value => ({
  type: "object",
  description,
  properties,
  additionalProperties: false,
});
