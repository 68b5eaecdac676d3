import * as z from "zod";

type Why = (value: string) => string | undefined;

const faults = new WeakMap<z.core.$ZodCheck<never>, Why>();

/** Text for which `why` finds no fault. */
export function text(why: Why) {
  const schema = z.string().superRefine((value, context) => {
    const message = why(value);
    if (message) context.addIssue({ code: "custom", message });
  });
  const [check] = schema.def.checks ?? [];
  if (check) faults.set(check, why);
  return schema;
}

/** What a check of `text` asks, without all that an issue needs. */
export const faultOf = (check: z.core.$ZodCheck<never>): Why | undefined => faults.get(check);
