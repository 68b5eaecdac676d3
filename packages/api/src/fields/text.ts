import * as z from "zod";

/** Text for which `why` finds no fault. */
export const text = (why: (value: string) => string | undefined) =>
  z.string().superRefine((value, context) => {
    const message = why(value);
    if (message) context.addIssue({ code: "custom", message });
  });
