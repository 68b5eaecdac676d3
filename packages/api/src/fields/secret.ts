import * as z from "zod";

/** Secrets are referred to, never held. */
export const secretKeyRef = z.object({
  secretKeyRef: z
    .object({
      name: z.string().describe("Name of the Secret."),
      key: z.string().describe("Key within the Secret."),
      optional: z.boolean().optional().describe("Whether the Secret may be absent."),
    })
    .describe("Where the password is."),
});
