/**
 * Rules between the fields of a spec, each said once: `parse` checks them, and the CRDs have them in CEL, so that the API server
 * refuses an object before anybody else sees it. What CEL cannot say, or not cheaply, stays in its kind's file.
 */
import type * as z from "zod";

type Spec = Readonly<Record<string, unknown>>;

export interface Condition {
  /** Of `self`, the spec. */
  readonly cel: string;
  holds(spec: Spec): boolean;
}

export interface Between {
  /** The field that is wrong; "": the spec. */
  readonly path: string;
  readonly message: string;
  readonly must: Condition;
}

export const has = (field: string): Condition => ({
  cel: `has(self.${field})`,
  holds: (spec) => spec[field] !== undefined,
});

/** An absent field is nothing. */
export const is = (field: string, value: string | boolean): Condition => ({
  cel: `(has(self.${field}) && self.${field} == ${JSON.stringify(value)})`,
  holds: (spec) => spec[field] === value,
});

/** Of a list: absent, or without members. */
export const isEmpty = (field: string): Condition => ({
  cel: `(!has(self.${field}) || size(self.${field}) == 0)`,
  holds: (spec) => ((spec[field] ?? []) as readonly unknown[]).length === 0,
});

export const not = (one: Condition): Condition => ({
  cel: `!${one.cel}`,
  holds: (spec) => !one.holds(spec),
});

export const any = (...all: readonly Condition[]): Condition => ({
  cel: `(${all.map(({ cel }) => cel).join(" || ")})`,
  holds: (spec) => all.some((one) => one.holds(spec)),
});

export const both = (one: Condition, other: Condition): Condition => ({
  cel: `(${one.cel} && ${other.cel})`,
  holds: (spec) => one.holds(spec) && other.holds(spec),
});

/** Where the one holds, the other must. */
export const implies = (one: Condition, other: Condition): Condition => any(not(one), other);

/** `field` is absent where `other` is not; `more` says why. */
export const absentBeside = (field: string, other: string, more = ""): Between => ({
  ...{ path: field, message: `must be absent beside ${other}${more}` },
  must: not(both(has(field), has(other))),
});

export const needs = (field: string, other: string): Between => ({
  ...{ path: field, message: `needs ${other}`, must: implies(has(field), has(other)) },
});

/** For zod's superRefine. */
export const check =
  (rules: readonly Between[]) =>
  (spec: Spec, context: z.RefinementCtx): void => {
    for (const { path, message, must } of rules)
      if (!must.holds(spec)) context.addIssue({ code: "custom", path: path ? [path] : [], message });
  };
